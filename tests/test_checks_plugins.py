"""Plug-ins are run on a short leash: none can hang, flood, fork away or be somebody else's."""

import os
import select
import stat
from pathlib import Path

import pytest

from agent.checks.check import Health, State
from agent.checks.plugins import Plugins
from agent.checks.suite import Suite

LIMIT_S = 30.0

ENDS_S = 60.0


def put(folder: Path, name: str, script: str, mode: int = 0o755) -> Path:
    folder.mkdir(exist_ok=True, mode=0o755)
    file = folder / name
    file.write_text(script)
    file.chmod(mode)
    return file


def run(folder: Path, *, limit_s: float = LIMIT_S) -> dict[str, State]:
    suite = Suite([], Plugins(folder, limit_s))
    return {state.check: state for state in suite.run()}


def test_exit_codes_are_nagios(tmp_path: Path) -> None:
    folder = tmp_path / "checks.d"
    for code in (0, 1, 2, 3, 4):
        put(folder, f"c{code}.sh", f"#!/bin/sh\necho 'reason {code} | load=1;2'\nexit {code}\n")
    put(folder, "signal", "#!/bin/sh\nkill -SEGV $$\n")
    put(folder, "silent", "#!/bin/sh\nexit 2\n")

    found = run(folder)

    assert {name: state.health.value for name, state in found.items()} == {
        "plugin-c0": 0,
        "plugin-c1": 1,
        "plugin-c2": 2,
        "plugin-c3": 3,
        "plugin-c4": 3,
        "plugin-signal": 3,
        "plugin-silent": 2,
    }
    assert found["plugin-c1"].reason == "reason 1"
    assert "exit code 4, which is none of Nagios'" in found["plugin-c4"].reason
    assert "signal 11" in found["plugin-signal"].reason
    assert found["plugin-silent"].reason == "exit code 2, without a word"


def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    put(tmp_path / "checks.d", "hangs", "#!/bin/sh\nexec sleep 600\n")

    found = run(tmp_path / "checks.d", limit_s=0.3)["plugin-hangs"]

    assert found.health is Health.UNKNOWN
    assert "did not end within 0.3 s" in found.reason


def test_one_that_is_killed_goes_with_all_that_it_started(tmp_path: Path) -> None:
    """One of its children has left its process group, and one goes on by a double fork."""
    script = (
        "#!/bin/sh\nsleep 600 & echo $! >{0}/a\n"
        "setsid sh -c 'echo $$ >{0}/b; exec sleep 600' &\n"
        "(setsid sh -c 'echo $$ >{0}/c; exec sleep 600' &)\n"
        "while [ ! -s {0}/a -o ! -s {0}/b -o ! -s {0}/c ]; do sleep 0.01; done\n"
        "echo $$ >{0}/d\nexec cat /dev/zero\n"
    )
    put(tmp_path / "checks.d", "tree", script.format(tmp_path))

    found = run(tmp_path / "checks.d")["plugin-tree"]
    pids = [int((tmp_path / name).read_text()) for name in "abcd"]

    assert (found.health, "and was killed" in found.reason) == (Health.UNKNOWN, True)
    assert all(ended(pid) for pid in pids)


def test_one_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    """What it left holds its output open: its answer is not waited for any longer."""
    script = (
        "#!/bin/sh\nsetsid sh -c 'echo $$ >{0}/left; exec sleep 600' &\n"
        "while [ ! -s {0}/left ]; do sleep 0.01; done\necho done\n"
    )
    put(tmp_path / "checks.d", "leaves", script.format(tmp_path))

    found = run(tmp_path / "checks.d")["plugin-leaves"]

    assert (found.health, found.reason) == (Health.HEALTHY, "done")
    assert ended(int((tmp_path / "left").read_text()))


def test_a_flood_of_output_is_cut(tmp_path: Path) -> None:
    put(tmp_path / "checks.d", "floods", "#!/bin/sh\nhead -c 100000000 /dev/zero\nexit 0\n")
    put(tmp_path / "checks.d", "endless", "#!/bin/sh\nexec cat /dev/zero\n")
    put(tmp_path / "checks.d", "odd", "#!/bin/sh\nprintf 'a\\033[31m \\377 b\\nsecond\\n'\n")

    found = run(tmp_path / "checks.d")

    for name in ("floods", "endless"):
        assert found[f"plugin-{name}"].health is Health.UNKNOWN
        assert "wrote more than 1 MiB" in found[f"plugin-{name}"].reason
    assert found["plugin-odd"].reason == "a [31m \N{REPLACEMENT CHARACTER} b"


def test_its_environment_is_bare_its_priority_low_and_there_is_no_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUMEDIC_TOKEN", "secret")
    script = "#!/bin/sh\nset -- $(env | cut -d= -f1) $(nice) $(pwd) $#\necho $*\n"
    put(tmp_path / "checks.d", "shows", script)

    said = run(tmp_path / "checks.d")["plugin-shows"].reason.split()

    assert said[-3:] == ["10", "/", "0"]
    assert set(said[:-3]) - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LANG", "GPUMEDIC_CHECK"}


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_one_that_others_may_write_is_not_run(tmp_path: Path, mode: int) -> None:
    file = put(tmp_path / "checks.d", "open", f"#!/bin/sh\ntouch {tmp_path}/ran\n", mode)

    found = run(tmp_path / "checks.d")["plugin-open"]

    assert found.health is Health.UNKNOWN
    assert "can be written by others" in found.reason
    assert found.remedy == f"chmod go-w {file}"
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "checks.d"
    put(folder, "plain", "#!/bin/sh\n", 0o644)
    put(folder, "no-program", "#!/no/such/shell\n")
    put(folder, "editor.sh~", "#!/bin/sh\nexit 2\n")
    put(folder, ".hidden", "#!/bin/sh\nexit 2\n")
    (folder / "folder").mkdir()

    found = run(folder)

    assert set(found) == {"plugin-plain", "plugin-no-program"}
    assert "not executable" in found["plugin-plain"].reason
    assert found["plugin-no-program"].health is Health.UNKNOWN
    assert run(tmp_path / "none") == {}


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = put(tmp_path / "checks.d", "good", "#!/bin/sh\n").parent
    folder.chmod(folder.stat().st_mode | stat.S_IWOTH)

    assert {name: state.health for name, state in run(folder).items()} == {"plugins": 3}


def test_only_so_many_run_at_a_time(tmp_path: Path) -> None:
    """Each tells how many run beside it."""
    script = "#!/bin/sh\nmkdir {0}/$$\nset -- {0}/[0-9]*\nn=$#\nsleep 0.05\nrmdir {0}/$$\necho $n\n"
    for n in range(5):
        put(tmp_path / "checks.d", f"p{n}", script.format(tmp_path))

    states = Suite([], Plugins(tmp_path / "checks.d", LIMIT_S, parallel=2)).run()

    assert len(states) == 5
    assert {int(state.reason) for state in states} <= {1, 2}


def ended(pid: int) -> bool:
    """Wait until a process has ended; a kill that was sent takes a moment on a busy machine."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([end], [], [], ENDS_S)[0])
    finally:
        os.close(end)
