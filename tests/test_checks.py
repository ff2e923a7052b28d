"""Each check finds what is wrong in a recorded machine, says so, and stops no other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.checks.check import Check, Health
from agent.checks.gpus import Gpus
from agent.checks.load import Memory, OpenFiles, Pressure
from agent.checks.machine import Machine
from agent.checks.ports import Infiniband, Interfaces
from agent.checks.processes import Processes
from agent.checks.processor import MemoryErrors, Processors, Temperatures
from agent.checks.recent import Growth
from agent.checks.timekeeping import ClockSync, Kept, kept
from agent.checks.volumes import Volumes
from agent.collect.host import HostReader
from agent.collect.nvml import DriverFacts, Gpu
from core.clock import ManualClock

IB = "sys/class/infiniband/mlx5_{n}/ports/1"
HEALTHY: Mapping[str, str] = {
    "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 600 kB\nSwapTotal: 0 kB\n"
    "HardwareCorrupted: 0 kB\n",
    "proc/vmstat": "oom_kill 3\n",
    "proc/sys/fs/file-nr": "500\t0\t2000\n",
    **{
        f"proc/pressure/{name}": "some avg10=1.00 avg60=1.00 avg300=0.00 total=1\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
        for name in ("cpu", "memory", "io")
    },
    "proc/1/stat": "1 (init) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 2 0 0\n",
    "proc/7/stat": "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0\n",
    "sys/devices/system/cpu/present": "0-3\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "5\n",
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "40000\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "critical\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "105000\n",
    "sys/class/hwmon/hwmon1/name": "coretemp\n",
    "sys/class/hwmon/hwmon1/temp1_label": "Package id 0\n",
    "sys/class/hwmon/hwmon1/temp1_input": "61000\n",
    "sys/class/hwmon/hwmon1/temp1_max": "90000\n",
    "sys/class/hwmon/hwmon1/temp1_crit": "100000\n",
    "sys/devices/system/edac/mc/mc0/dimm0/dimm_label": "CPU0_DIMM_A1\n",
    "sys/devices/system/edac/mc/mc0/dimm0/dimm_ce_count": "50\n",
    "sys/devices/system/edac/mc/mc0/dimm0/dimm_ue_count": "0\n",
    **{
        f"{IB.format(n=n)}/{name}": text
        for n in range(2)
        for name, text in {
            "state": "4: ACTIVE\n",
            "phys_state": "5: LinkUp\n",
            "rate": "400 Gb/sec (4X NDR)\n",
            "counters/symbol_error": "0\n",
            "counters/link_downed": "1\n",
        }.items()
    },
    f"{IB.format(n=8)}/state": "1: DOWN\n",
    f"{IB.format(n=8)}/phys_state": "3: Disabled\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/flags": "0x1003\n",
    "sys/class/net/eth0/carrier_down_count": "2\n",
    "sys/class/net/eth0/statistics/rx_errors": "1\n",
    "sys/class/net/eth0/statistics/tx_errors": "2\n",
    "sys/class/net/eth1/operstate": "down\n",
    "sys/class/net/eth1/flags": "0x1002\n",
    "sys/bus/pci/devices/0000:18:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:18:00.0/class": "0x030200\n",
    "sys/bus/pci/devices/0000:19:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:19:00.0/class": "0x040300\n",
}


@dataclass(frozen=True, slots=True)
class Driver:
    """What a driver shows of its GPUs."""

    gpus: tuple[Gpu, ...] = ()
    driver: DriverFacts = field(default_factory=lambda: DriverFacts("580.1"))


ONE_GPU = Driver((Gpu("GPU-1", 0, "H200"),))


def lay(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def at(tmp_path: Path, clock: ManualClock) -> Machine:
    """A machine that is well, played from files."""
    lay(tmp_path, HEALTHY)
    lay(tmp_path, {"proc/filesystems": "\text4\n", "proc/self/mounts": ""})
    return Machine(clock, tmp_path / "proc", tmp_path / "sys", tmp_path / "etc")


def host_of(at: Machine, *volumes: str) -> HostReader:
    return HostReader("n", clock=at.clock, proc=at.proc, sys=at.sys, volumes=volumes)


MAKES: Mapping[str, Callable[[Machine], Check]] = {
    "cpu": Processors,
    "memory": lambda at: Memory(at, host_of(at)),
    "memory-errors": MemoryErrors,
    "open-files": lambda at: OpenFiles(host_of(at)),
    "pressure": lambda at: Pressure(at, host_of(at)),
    "processes": Processes,
    "temperature": Temperatures,
    "network": Interfaces,
    "infiniband": Infiniband,
    "gpu": lambda at: Gpus(at, lambda: ONE_GPU, lambda _: ""),
}


@pytest.mark.parametrize("name", MAKES)
def test_a_machine_that_is_well_is_healthy(at: Machine, name: str) -> None:
    check = MAKES[name](at)

    twice = [check.run() for _ in range(2)]

    assert [(state.check, state.health, state.remedy) for state in twice] == [
        (name, Health.HEALTHY, "")
    ] * 2
    assert twice[0].reason


@pytest.mark.parametrize(
    ("name", "files", "health", "said"),
    [
        ("cpu", {"sys/devices/system/cpu/online": "0,2-3\n"}, 1, "1 of 4 processors"),
        (
            "cpu",
            {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "6\n"},
            1,
            "1 processor slowed down",
        ),
        (
            "memory",
            {"proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 10 kB\n"},
            1,
            "99 %, over 95",
        ),
        ("memory", {"proc/vmstat": "oom_kill 5\n"}, 1, "2 processes were killed"),
        (
            "memory-errors",
            {"sys/devices/system/edac/mc/mc0/dimm0/dimm_ue_count": "1\n"},
            2,
            "CPU0_DIMM_A1",
        ),
        (
            "memory-errors",
            {"sys/devices/system/edac/mc/mc0/dimm0/dimm_ce_count": "450\n"},
            1,
            "400 corrected errors in CPU0_DIMM_A1",
        ),
        ("open-files", {"proc/sys/fs/file-nr": "1900 0 2000\n"}, 1, "95 %, over 90 %"),
        (
            "pressure",
            {"proc/pressure/io": "some avg10=9.0 avg60=9.0\nfull avg10=9.0 avg60=70.00 avg300=1\n"},
            2,
            "waited for io during 70%",
        ),
        ("temperature", {"sys/class/hwmon/hwmon1/temp1_input": "96000\n"}, 2, "Package id 0 at 96"),
        ("temperature", {"sys/class/hwmon/hwmon1/temp1_input": "91000\n"}, 1, "too warm"),
        ("network", {"sys/class/net/eth0/operstate": "down\n"}, 2, "eth0 has lost its carrier"),
        ("network", {"sys/class/net/eth0/statistics/rx_errors": "5001\n"}, 1, "5000 errors"),
        ("network", {"sys/class/net/eth0/carrier_down_count": "5\n"}, 1, "eth0 comes and goes"),
        (
            "infiniband",
            {f"{IB.format(n=1)}/state": "1: DOWN\n", f"{IB.format(n=1)}/phys_state": "2: Polling"},
            2,
            "mlx5_1:1 was active and is down",
        ),
        (
            "infiniband",
            {f"{IB.format(n=1)}/rate": "100 Gb/sec (1X NDR)\n"},
            1,
            "100 Gb/s, not at 400",
        ),
        (
            "infiniband",
            {f"{IB.format(n=0)}/counters/symbol_error": "130\n"},
            1,
            "130 symbol errors",
        ),
        ("infiniband", {f"{IB.format(n=0)}/counters/link_downed": "4\n"}, 1, "mlx5_0:1 comes and"),
        (
            "gpu",
            {
                "sys/bus/pci/devices/0000:2a:00.0/vendor": "0x10de\n",
                "sys/bus/pci/devices/0000:2a:00.0/class": "0x030200\n",
            },
            2,
            "1 of the 2 NVIDIA GPUs",
        ),
    ],
)
def test_what_changes_for_the_worse_is_found(
    at: Machine, name: str, files: Mapping[str, str], health: int, said: str
) -> None:
    check = MAKES[name](at)
    check.run()
    lay(at.proc.parent, files)

    state = check.run()

    assert (state.check, state.health) == (name, health)
    assert said in state.reason
    assert state.remedy


@pytest.mark.parametrize(
    ("expected", "health", "said"),
    [("2x400", 0, "2 active"), ("3x400", 2, "2 of 3 ports"), ("2x800", 1, "not at 800")],
)
def test_ports_are_held_against_what_is_expected(
    at: Machine, expected: str, health: int, said: str
) -> None:
    state = Infiniband(at, expected).run()

    assert state.health == health
    assert said in state.reason


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            Driver((Gpu("GPU-1", 0, trouble="GPU is lost"),)),
            "lost; it hits the job on GPU-1",
        ),
        (Driver((Gpu("GPU-1", 0, recovery=1),)), "asks for a repair (recovery action 1)"),
        (Driver(driver=DriverFacts(missing="no driver")), "none is seen: no driver"),
    ],
)
def test_a_gpu_in_trouble_is_named(at: Machine, seen: Driver, said: str) -> None:
    state = Gpus(at, lambda: seen, lambda uuid: f"; it hits the job on {uuid}").run()

    assert (state.health, said in state.reason) == (Health.UNHEALTHY, True)


async def test_a_flapping_port_is_well_half_a_day_later(at: Machine, clock: ManualClock) -> None:
    check, count = Infiniband(at), at.sys.parent / IB.format(n=0) / "counters/link_downed"
    check.run()
    seen = []
    for downs in (2, 3, 4, 4):
        count.write_text(f"{downs}\n")
        seen.append(check.run().health)
        await clock.advance(4 * 3600)
    await clock.advance(12 * 3600)

    assert seen == [Health.HEALTHY, Health.HEALTHY, Health.DEGRADED, Health.DEGRADED]
    assert check.run().health is Health.HEALTHY


def test_growth_is_of_the_last_hour_and_a_restart_is_none() -> None:
    growth = Growth(span_s=3600.0)
    readings = [(0, 7), (60, 7), (1800, 9), (3000, 9), (5401, 9), (5460, 4), (5520, 5)]

    assert [growth.of("a", count, at_s) for at_s, count in readings] == [0, 0, 2, 2, 0, 0, 1]


async def test_a_process_that_hangs_in_the_kernel_is_named(at: Machine, clock: ManualClock) -> None:
    asleep = HEALTHY["proc/7/stat"].replace(" S ", " D ")
    (at.proc / "7/stat").write_text(asleep)
    check = Processes(at)
    first = check.run()
    await clock.advance(121)
    later = check.run()
    (at.proc / "7/stat").write_text(asleep.replace(" 100 ", " 999 "))  # another, with its number
    other = check.run()

    assert [state.health for state in (first, later, other)] == [
        Health.HEALTHY,
        Health.UNHEALTHY,
        Health.HEALTHY,
    ]
    assert "a) b (c (7) hangs in the kernel for 2" in later.reason


def test_dead_processes_are_put_down_to_their_parent(at: Machine) -> None:
    dead = {
        f"{n}/stat": f"{n} (sh) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9 0" for n in range(9, 259)
    }
    lay(at.proc, dead)

    state = Processes(at).run()

    assert state.health is Health.DEGRADED
    assert "250 of them of a) b (c (7)" in state.reason


def test_a_volume_that_turned_read_only_is_found(at: Machine, tmp_path: Path) -> None:
    mount = f"/dev/sda1 {tmp_path} ext4 {{}},relatime 0 0\n"
    mounts = at.proc / "self/mounts"
    check = Volumes(at, host_of(at, str(tmp_path)))

    def seen(options: str, check: Check = check) -> Health:
        mounts.write_text(mount.format(options))
        return check.run().health

    always = seen("ro", Volumes(at, host_of(at, str(tmp_path))))
    assert (always, seen("rw"), seen("ro")) == (0, 0, 2)
    lay(tmp_path, {"etc/fstab": f"UUID=1 {tmp_path} ext4 defaults 0 2\n"})
    assert seen("ro", Volumes(at, host_of(at, str(tmp_path)))) is Health.UNHEALTHY


def test_a_volume_that_is_not_there_is_unknown(at: Machine) -> None:
    state = Volumes(at, host_of(at, "/no/such/volume")).run()

    assert (state.health, "/no/such/volume" in state.reason) == (Health.UNKNOWN, True)


@pytest.mark.parametrize(
    ("found", "health"),
    [
        (Kept(True, 1e-4, 0.01), Health.HEALTHY),
        (Kept(True, -0.3, 0.01), Health.DEGRADED),
        (Kept(False, 0.0, 16.0), Health.DEGRADED),
    ],
)
def test_a_clock_that_nobody_keeps_is_told(found: Kept, health: Health) -> None:
    assert ClockSync(lambda: found).run().health is health


@pytest.mark.parametrize(
    ("answer", "health"), [(True, 0), (False, 1), (OSError("no such program"), 3)]
)
def test_where_the_kernel_may_not_be_asked_systemd_is(answer: bool | OSError, health: int) -> None:
    def refused() -> Kept:
        raise PermissionError(1, "Operation not permitted")

    def systemd() -> bool:
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert ClockSync(refused, systemd).run().health == health


def test_the_kernel_tells_of_its_clock() -> None:
    assert abs(kept().offset_s) < 1.0
