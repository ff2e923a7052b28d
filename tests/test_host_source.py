"""This machine is read right, part by part; a part that fails or hangs takes no other with it."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from agent.collect import host, patience
from agent.collect.host import HostReader
from agent.collect.patience import Patience, Stuck
from agent.collect.reading import ReaderSource, Snapshot
from core.clock import ManualClock
from core.ports import Query
from core.target import Target
from core.units import CATALOG

FILES = {
    "proc/stat": "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4\n",
    "proc/meminfo": "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n"
    "SwapTotal: 200 kB\nSwapFree: 50 kB\nHugePages_Total: 0\n",
    "proc/sys/fs/file-nr": "500\t0\t2000\n",
    "proc/vmstat": "nr_free_pages 7\noom_kill 3\n",
    "proc/pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\n",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=9.0\n",
    "proc/pressure/io": "some avg10=100.00 avg60=0.00 avg300=0.00 total=1\n",
    "proc/filesystems": "nodev\tproc\nnodev\ttmpfs\nnodev\tnfs4\n\text4\n\tsquashfs\n",
    "proc/self/mounts": "",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/carrier_down_count": "2\n",
    "sys/class/net/eth0/statistics/rx_bytes": "1000\n",
    "sys/class/net/eth0/statistics/tx_bytes": "2000\n",
    "sys/class/net/eth0/statistics/rx_errors": "1\n",
    "sys/class/net/eth0/statistics/tx_errors": "2\n",
    "sys/class/net/lo/operstate": "unknown\n",
    "sys/class/net/veth12ab/operstate": "up\n",
    "sys/class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE\n",
    "sys/class/infiniband/mlx5_0/ports/1/counters/port_rcv_data": "25\n",
    "sys/class/infiniband/mlx5_0/ports/1/counters/link_downed": "1\n",
    "sys/class/infiniband/mlx5_0/ports/2/state": "1: DOWN\n",
}
NODE = Target(node="n1")
ETH0 = Target(node="n1", port="eth0")
IB1 = Target(node="n1", port="mlx5_0:1")
IB2 = Target(node="n1", port="mlx5_0:2")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that looks like a machine's /proc and /sys."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def source_of(machine: Path, clock: ManualClock, *volumes: str) -> HostReader:
    return HostReader(
        "n1", clock=clock, proc=machine / "proc", sys=machine / "sys", volumes=volumes
    )


def values(snapshot: Snapshot) -> dict[tuple[str, Target], float]:
    return {(reading.metric, reading.target): reading.value for reading in snapshot.readings}


def codes(snapshot: Snapshot) -> list[str]:
    return [problem.code for problem in snapshot.problems]


def test_every_part_is_read(machine: Path, clock: ManualClock) -> None:
    snapshot = source_of(machine, clock).snapshot()

    assert codes(snapshot) == []
    assert values(snapshot) == {
        ("node_up", NODE): 1,
        ("node_memory_used_bytes", NODE): 750 * 1024,
        ("node_memory_used_ratio", NODE): 0.75,
        ("node_swap_used_ratio", NODE): 0.75,
        ("node_open_files_ratio", NODE): 0.25,
        ("node_pressure_cpu_ratio", NODE): 0.125,
        ("node_pressure_memory_ratio", NODE): 0,
        ("node_pressure_io_ratio", NODE): 1,
        ("node_oom_kills_total", NODE): 3,
        ("port_up", ETH0): 1,
        ("port_receive_bytes_total", ETH0): 1000,
        ("port_transmit_bytes_total", ETH0): 2000,
        ("port_errors_total", ETH0): 3,
        ("port_link_down_total", ETH0): 2,
        ("port_up", IB1): 1,
        ("port_receive_bytes_total", IB1): 100,
        ("port_link_down_total", IB1): 1,
        ("port_up", IB2): 0,
    }


async def test_processor_time_is_of_the_time_between_two_reads(
    machine: Path, clock: ManualClock
) -> None:
    """40 of 80 new ticks were work; a read right after it repeats that rather than guess."""
    source = source_of(machine, clock)
    source.snapshot()
    (machine / "proc/stat").write_text("cpu  130 0 110 730 110 0 0 0 0 0\n")
    await clock.advance(15)

    second = values(source.snapshot())
    await clock.advance(0.1)
    third = values(source.snapshot())

    assert second["node_cpu_used_ratio", NODE] == 0.5
    assert third["node_cpu_used_ratio", NODE] == 0.5


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("proc/stat", "", "host_cpu"),
        ("proc/stat", "cpu one two\n", "host_cpu"),
        ("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "host_memory"),
        ("proc/meminfo", None, "host_memory"),
        ("proc/sys/fs/file-nr", "5", "host_open_files"),
        ("proc/pressure/cpu", "nothing", "host_pressure"),
        ("proc/vmstat", None, "host_oom_kills"),
        ("sys/class/net/eth0/statistics/rx_bytes", "x", "host_ports"),
        ("sys/class/infiniband/mlx5_0/ports/2/state", None, "host_infiniband"),
        ("proc/self/mounts", None, "host_volumes"),
    ],
)
def test_a_part_that_cannot_be_read_is_told_and_left_out(
    machine: Path, clock: ManualClock, name: str, text: str | None, code: str
) -> None:
    if text is None:
        (machine / name).unlink()
    else:
        (machine / name).write_text(text)

    snapshot = source_of(machine, clock).snapshot()

    assert codes(snapshot) == [code]
    assert len(snapshot.readings) >= 10


def test_a_kernel_without_pressure_is_no_problem(machine: Path, clock: ManualClock) -> None:
    for resource in ("cpu", "memory", "io"):
        (machine / "proc/pressure" / resource).unlink()
    (machine / "proc/pressure").rmdir()

    assert codes(source_of(machine, clock).snapshot()) == []


def mounts(machine: Path, *lines: str) -> None:
    (machine / "proc/self/mounts").write_text("".join(f"{line} rw 0 0\n" for line in lines))


def watched(snapshot: Snapshot) -> set[str]:
    return {r.target.volume for r in snapshot.readings if r.metric == "volume_used_ratio"}


def test_each_file_system_with_data_is_watched_once(
    machine: Path, tmp_path: Path, clock: ManualClock
) -> None:
    """Bind mounts repeat a device; tmpfs, images and the kernel's own hold no data to lose."""
    spaced = tmp_path / "with space"
    spaced.mkdir()
    mounts(
        machine,
        f"/dev/sda1 {tmp_path}/proc ext4",
        f"/dev/sda1 {tmp_path} ext4",
        f"server:/x {str(spaced).replace(' ', chr(92) + '040')} nfs4",
        "tmpfs /dev/shm tmpfs",
        "/dev/loop0 /snap squashfs",
        "proc /proc proc",
    )

    snapshot = source_of(machine, clock).snapshot()

    assert codes(snapshot) == []
    assert watched(snapshot) == {str(tmp_path), str(spaced)}


def test_a_file_system_may_be_mounted_at_any_bytes(
    machine: Path, tmp_path: Path, clock: ManualClock
) -> None:
    """Whoever may mount one names its folder: the others are watched all the same."""
    strange = b"/dev/sdb1 /mnt/\xff ext4 rw 0 0\n"
    (machine / "proc/self/mounts").write_bytes(
        strange + f"/dev/sda1 {tmp_path} ext4 rw 0 0\n".encode()
    )

    snapshot = source_of(machine, clock).snapshot()

    assert codes(snapshot) == ["volume_unreadable"]
    assert watched(snapshot) == {str(tmp_path)}


def test_a_tmpfs_is_watched_when_it_is_named(machine: Path, clock: ManualClock) -> None:
    used = os.statvfs("/dev/shm")

    snapshot = source_of(machine, clock, "/dev/shm").snapshot()

    target = Target(node="n1", volume="/dev/shm")
    wanted = 1 - used.f_bavail / used.f_blocks
    assert values(snapshot)["volume_used_ratio", target] == pytest.approx(wanted, abs=0.01)


def test_a_volume_that_is_not_there_is_told(machine: Path, clock: ManualClock) -> None:
    snapshot = source_of(machine, clock, "/no/such/volume").snapshot()

    assert codes(snapshot) == ["volume_unreadable"]
    assert "Check host.volumes" in snapshot.problems[0].text


def test_a_dead_file_server_does_not_hang_the_agent(
    machine: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """statvfs on a dead NFS mount never returns; the system call is made to do so here."""
    back, calls = threading.Event(), []
    real = os.statvfs

    def statvfs(path: str) -> os.statvfs_result:
        calls.append(path)
        if path == "/nfs":
            back.wait(20)
        return real("/")

    monkeypatch.setattr(host, "VOLUME_DEADLINE_S", 0.1)
    monkeypatch.setattr(os, "statvfs", statvfs)
    source = source_of(machine, clock, "/nfs", "/")

    down = [source.snapshot() for _ in range(3)]
    called = calls.count("/nfs")
    back.set()
    up = source.snapshot()

    assert [codes(snapshot) for snapshot in down] == [["volume_hung"]] * 3
    assert all(watched(snapshot) == {"/"} for snapshot in down)
    assert called == 1
    assert watched(up) == {"/", "/nfs"}
    assert codes(up) == []


def test_an_error_of_a_call_is_handed_back() -> None:
    def fail() -> int:
        raise ValueError("no")

    found = Patience[int](1.0).wait_for({"a": fail, "b": lambda: 7})

    assert isinstance(found["a"], ValueError)
    assert found["b"] == 7


def test_what_came_back_late_is_not_taken_for_news() -> None:
    """A driver that hung for an hour answers with the temperature of an hour ago."""
    gate, told = threading.Event(), [1, 2]

    def read() -> int:
        value = told.pop(0)
        gate.wait(20)
        return value

    waiting = Patience[int](0.05)

    first = waiting.wait_for({"gpu": read})["gpu"]
    gate.set()
    second = waiting.wait_for({"gpu": read})["gpu"]

    assert isinstance(first, Stuck)
    assert second == 2


def test_calls_that_answer_share_a_thread_which_one_that_hangs_leaves_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "TURN_S", 0.2)  # this machine may be busy
    gate, hung = threading.Event(), []

    def hang() -> int:
        hung.append(threading.get_ident())
        gate.wait(20)
        return 0

    who = threading.get_ident
    calls = {"a": who, "b": who, "hung": hang, "c": who, "d": who}
    waiting = Patience[int](0.05)

    found = waiting.wait_for(calls)
    again = waiting.wait_for(calls)
    gate.set()

    assert found["a"] == found["b"] == hung[0]
    assert found["c"] == found["d"] != hung[0]
    for each in (found, again):
        assert [name for name in each if isinstance(each[name], Stuck)] == ["hung"]
    assert len(hung) == 1


def test_nothing_to_wait_for_is_no_wait() -> None:
    assert Patience[int](60.0).wait_for({}) == {}
    assert issubclass(Stuck, Exception)


async def test_a_read_gives_now_at_the_last_grid_point(machine: Path, clock: ManualClock) -> None:
    now_s = clock.now_s()
    source = ReaderSource(source_of(machine, clock), clock=clock)

    given = await source.read(Query(("node_memory_used_ratio", "port_up"), now_s - 60, now_s, 15))
    past = await source.read(Query(("port_up",), now_s - 600, now_s - 60, 15))

    by_metric = {window.metric: window for window in given.windows}
    assert set(by_metric) == {"node_memory_used_ratio", "port_up"}
    assert by_metric["port_up"].targets == (ETH0, IB1, IB2)
    np.testing.assert_array_equal(by_metric["port_up"].value, [[1.0], [1.0], [0.0]])
    assert by_metric["port_up"].time_s.tolist() == [now_s // 15 * 15]
    assert past.windows == ()


def test_this_very_machine_gives_plausible_readings(clock: ManualClock) -> None:
    snapshot = HostReader("here", clock=clock).snapshot()

    assert snapshot.problems == ()
    assert {"node_memory_used_ratio", "node_open_files_ratio"} <= {
        reading.metric for reading in snapshot.readings
    }
    for reading in snapshot.readings:
        assert CATALOG[reading.metric].plausible(reading.value), reading
