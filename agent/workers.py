"""Runs heavy functions in spawned processes with a limit on time and memory each."""

import asyncio
import contextlib
import os
import pickle
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.worker_process import LENGTH, OK, OUT_OF_MEMORY, pack
from core.errors import WorkerFailed

# A fresh process now and then bounds what a leaking library can pile up.
CALLS_PER_WORKER = 200
MAX_PENDING = 64
# Why a call failed: the pool was closed, as its owner ends.
CLOSED = "closed"
# Prophet and numpy would start a thread for each core; the node has other work.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
STDERR_TAIL_BYTES = 400


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    folder: Path
    calls: int = 0

    async def ask(self, function: str, argument: object) -> tuple[Any, ...]:
        """Send one call and return its answer; EOFError when the process ends before that."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise EOFError
        self.calls += 1
        try:
            # A large argument takes a while to pack, in which the loop has other work.
            stdin.write(await asyncio.to_thread(pack, (function, argument)))
            await stdin.drain()
            (size,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
            answer: tuple[Any, ...] = pickle.loads(await stdout.readexactly(size))  # noqa: S301
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error
        return answer

    async def end(self) -> None:
        """Kill the process with all its children and delete what it left on disk."""
        try:
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            if self.process.stdin is not None:
                self.process.stdin.close()
            await self.process.wait()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self) -> str:
        """Return the end of what the process printed, or ""."""
        try:
            printed = (self.folder / "stderr").read_bytes()[-STDERR_TAIL_BYTES:]
        except OSError:
            return ""
        return printed.decode(errors="replace").strip().rpartition("\n")[2]


class WorkerPool:
    """A few worker processes, started when first needed and used again for later calls.

    Processes and never threads: Prophet in threads is known to hang (facebook/prophet#2345). Each
    is a fresh interpreter, so nothing of this process (its loop, its sockets) leaks into it. It
    ends when this process does, however that ends.
    """

    def __init__(
        self,
        workers: int,
        *,
        time_limit_s: float,
        memory_bytes: int,
        calls_per_worker: int = CALLS_PER_WORKER,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._workers = workers
        self._slots = asyncio.Semaphore(workers)
        self._time_limit_s = time_limit_s
        self._memory_bytes = memory_bytes
        self._calls_per_worker = calls_per_worker
        self._max_pending = max_pending
        self._idle: list[_Worker] = []
        self._calls: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, function: str, argument: object, *, limit_s: float | None = None) -> Any:
        """Return what ``module:function`` makes of the argument; WorkerFailed says why it did not.

        Both go through pickle. The time limit, the pool's where the call has none, counts from when
        a worker takes the call up, and includes the imports of a first call. Cancelling kills the
        worker that runs it.
        """
        if self._closed:
            raise _closed(function)
        if len(self._calls) >= self._max_pending + self._workers:
            raise WorkerFailed(
                "busy",
                f"Running {function}: {len(self._calls)} calls already run or wait, the most that "
                "this pool takes. Ask less often, or give it more workers (forecast.workers).",
            )
        call = asyncio.create_task(self._serve(function, argument, limit_s or self._time_limit_s))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise _closed(function) from None
            raise

    async def close(self) -> None:
        """End every process, running calls included, and delete their files."""
        self._closed = True
        for call in tuple(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._idle))
        self._idle.clear()

    async def __aenter__(self) -> "WorkerPool":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _serve(self, function: str, argument: object, limit_s: float) -> Any:
        async with self._slots:
            worker = await self._take()
            keep = False
            try:
                async with asyncio.timeout(limit_s):
                    kind, *answer = await worker.ask(function, argument)
                keep = kind != OUT_OF_MEMORY and worker.calls < self._calls_per_worker
                return self._result(function, kind, answer)
            except TimeoutError:
                raise WorkerFailed(
                    "timeout",
                    f"Running {function}: not done after {limit_s:g} s, so its process "
                    "was ended. Give it less data, or raise forecast.time_limit.",
                ) from None
            except EOFError:
                raise await _crash(function, worker) from None
            finally:
                if keep:
                    self._idle.append(worker)
                else:
                    await worker.end()

    def _result(self, function: str, kind: str, answer: list[Any]) -> Any:
        if kind == OK:
            return answer[0]
        if kind == OUT_OF_MEMORY:
            raise WorkerFailed(
                "memory",
                f"Running {function}: it needs more than the {self._memory_bytes / 2**20:.0f} MiB "
                "that a worker may have. Give it less data, or raise forecast.memory_limit.",
            )
        failure = WorkerFailed("raised", f"Running {function}: it ended with {answer[0]}")
        failure.add_note(answer[1])
        raise failure

    async def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await worker.end()
        return await _start(self._memory_bytes)


async def _start(memory_bytes: int) -> _Worker:
    folder = Path(tempfile.mkdtemp(prefix="gpumedic-worker-"))
    (folder / "tmp").mkdir()
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        with (folder / "stderr").open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "agent.worker_process", folder, str(memory_bytes)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={
                    **os.environ,
                    **ONE_THREAD,
                    "PYTHONPATH": paths,
                    "TMPDIR": str(folder / "tmp"),
                },
                start_new_session=True,
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _Worker(process, folder)


async def _crash(function: str, worker: _Worker) -> WorkerFailed:
    words = worker.last_words()
    await worker.end()
    status = worker.process.returncode or 0
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return WorkerFailed(
        "crashed",
        f"Running {function}: its process ended with {how}{f' after: {words}' if words else ''}. "
        "The next call gets a fresh process; the kernel log says whether memory was short.",
    )


def _closed(function: str) -> WorkerFailed:
    return WorkerFailed(CLOSED, f"Running {function}: the workers are shutting down.")
