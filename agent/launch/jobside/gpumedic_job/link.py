"""A worker's line to its supervisor: one JSON object a line over a Unix socket."""

import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist

Message = dict[str, Any]


class GenerationOver(RuntimeError):
    """The supervisor has ended this generation of the process group."""


class Link:
    """Messages both ways; ``wanted`` is the newest generation the supervisor asked for.

    A thread of its own reads, so that the supervisor reaches a worker that waits for a dead peer.
    """

    def __init__(self, path: str, uid: str) -> None:
        self.path, self.uid = path, uid
        self.wanted = 0
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.on_regroup: Callable[[], None] = lambda: None
        self.on_save: Callable[[], None] = lambda: None
        self.on_interval: Callable[[float], None] = lambda seconds: None
        self.on_abandon: Callable[[], None] = lambda: None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._sending = threading.Lock()
        self._main = threading.get_ident()
        threading.Thread(target=self._read, name="gpumedic", daemon=True).start()

    def send(self, kind: str, **fields: Any) -> None:
        """Tell the supervisor; where it is gone, this process ends."""
        line = json.dumps({"kind": kind, "uid": self.uid, **fields}) + "\n"
        with self._sending:
            try:
                self._socket.sendall(line.encode())
            except OSError:
                _end()

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                self._take(json.loads(line))
        _end()

    def _take(self, message: Message) -> None:
        match message["kind"]:
            case "ping":
                self.send("pong", stack=self._stack())
            case "save":
                self.on_save()
            case "interval":
                self.on_interval(message["seconds"])
            case "abandon":
                if message["copy"]:
                    self.on_abandon()
                _end()
            case "regroup":
                self.wanted = max(self.wanted, message["generation"])
                self.on_regroup()
                self.inbox.put(message)
            case _:
                self.inbox.put(message)

    def _stack(self) -> list[str]:
        """Return the innermost calls of the main thread: evidence of where it hangs."""
        frame = sys._current_frames().get(self._main)
        return [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_stack(frame)][
            -8:
        ]


def _end() -> None:
    """End this process and what it started: without its supervisor it must not go on."""
    if os.getpid() == os.getpgid(0):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class GenerationStore(dist.Store):  # type: ignore[name-defined,misc]
    """The supervisor's key-value store for one generation: waits end when the generation does."""

    def __init__(self, path: str, generation: int) -> None:
        super().__init__()
        self._generation = generation
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._file = self._socket.makefile("rwb")
        self._lock = threading.Lock()

    def set(self, key: str, value: str | bytes) -> None:
        """Store a value."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        self._ask("set", key, value=b64encode(data).decode())

    def get(self, key: str) -> bytes:
        """Return the value, as soon as there is one."""
        return b64decode(self._ask("get", key))

    def add(self, key: str, amount: int) -> int:
        """Add to a counter and return it."""
        return int(self._ask("add", key, amount=amount))

    def check(self, keys: Sequence[str]) -> bool:
        """Say whether all keys have a value."""
        return all(self._ask("has", key) for key in keys)

    def wait(self, keys: Sequence[str], _timeout: timedelta | None = None) -> None:
        """Wait until all keys have a value."""
        for key in keys:
            self._ask("get", key)

    def delete_key(self, key: str) -> bool:
        """Remove a value; say whether there was one."""
        return bool(self._ask("delete", key))

    def close(self) -> None:
        """Close the line; later calls fail."""
        self._socket.close()

    def _ask(self, op: str, key: str, **fields: Any) -> Any:
        ask = {"kind": "kv", "op": op, "generation": self._generation, "key": key, **fields}
        with self._lock:
            self._file.write(json.dumps(ask).encode() + b"\n")
            self._file.flush()
            answer = json.loads(self._file.readline() or b'{"over": true}')
        if answer.get("over"):
            raise GenerationOver(f"generation {self._generation} is over")
        return answer["value"]
