"""A saved world goes on as if it had never been away, and a damaged file is refused."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from sim import saving
from sim.telemetry import METRICS, readings
from sim.world import World
from tests.worlds import HOUR_S, action, after, built, busy, digest, in_another_process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def saved(folder: Path) -> bytes:
    world = after(busy(), 3 * HOUR_S)
    world.save(folder / "world.npz")
    return (folder / "world.npz").read_bytes()


def load(folder: Path, content: bytes) -> World:
    path = folder / "given.npz"
    path.write_bytes(content)
    return World.load(path)


def archive(content: bytes, **changes: object) -> bytes:
    """Return the file with some of its parts changed, or left out (None), and sealed anew."""
    with np.load(io.BytesIO(content)) as file:
        parts = {name: file[name] for name in file.files}
    for name, part in changes.items():
        del parts[name]
        if part is not None:
            parts[name] = np.asarray(part)
    whole = io.BytesIO()
    np.savez(whole, **parts)
    return saving.sealed(whole.getvalue())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**63), hours=st.floats(0, 6), name=st.sampled_from(["busy", "demo"]))
def test_a_loaded_world_goes_on_bit_for_bit(
    folder: Path, seed: int, hours: float, name: str
) -> None:
    world = after(busy(seed=seed) if name == "busy" else built(name, seed=seed), hours * HOUR_S)
    before = digest(world)
    world.save(folder / "again.npz")
    loaded = World.load(folder / "again.npz")

    assert digest(world) == digest(loaded) == before
    assert (loaded.scenario, loaded.names.seed) == (world.scenario, seed)
    assert repr(loaded.state()) == repr(world.state())
    assert digest(after(loaded, 12 * HOUR_S)) == digest(after(world, 12 * HOUR_S))
    assert repr(loaded.sums()) == repr(world.sums())


def test_another_process_goes_on_with_it(folder: Path) -> None:
    world = after(busy(seed=5), 2 * HOUR_S)
    world.save(folder / "there.npz")
    code = f"digest(after(World.load(Path({str(folder / 'there.npz')!r})), 8 * HOUR_S))"

    assert in_another_process(code) == digest(after(world, 8 * HOUR_S))


def test_who_holds_what_and_which_orders_were_taken_are_kept(folder: Path) -> None:
    world = after(built("demo"), HOUR_S / 6)
    world.cordon("node-15", by="alice", reason="I look at it")
    world.perform(action("restart_job", job="llm-70b", key="plan-1:0"))
    after(world, HOUR_S / 5)
    world.save(folder / "held.npz")
    loaded = World.load(folder / "held.npz")

    loaded.perform(action("restart_job", job="llm-70b", key="plan-1:0"))

    assert loaded.people == world.people
    assert repr(loaded.state()) == repr(world.state())
    assert loaded.goodput() == world.goodput()
    times = np.arange(loaded.now_s - 600, loaded.now_s, 15.0)
    for then, now in zip(
        readings(world, METRICS, times), readings(loaded, METRICS, times), strict=True
    ):
        np.testing.assert_array_equal(then.value, now.value)


def test_the_same_world_is_the_same_file(folder: Path, saved: bytes) -> None:
    load(folder, saved).save(folder / "second.npz")

    assert (folder / "second.npz").read_bytes() == saved


def test_a_save_replaces_a_file_as_a_whole(folder: Path, saved: bytes) -> None:
    path = folder / "replaced.npz"
    path.write_bytes(b"something else")

    load(folder, saved).save(path)

    assert path.read_bytes() == saved
    assert not list(folder.glob("*.part"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_flipped_bit_is_found(folder: Path, saved: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(saved) - 1))
    flipped = bytearray(saved)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(InputError, match=r"given\.npz.*damaged.*save the world again"):
        load(folder, bytes(flipped))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_torn_file_is_refused(folder: Path, saved: bytes, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(saved) - 1))

    with pytest.raises(InputError, match="damaged"):
        load(folder, saved[:left])


@pytest.mark.parametrize("content", [b"", b"PK", b"no world at all\n" * 100])
def test_what_is_no_saved_world_is_refused(folder: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="no saved world"):
        load(folder, content)


def test_arrays_that_are_no_world_are_refused(folder: Path) -> None:
    whole = io.BytesIO()
    np.savez(whole, a=np.zeros(3))

    with pytest.raises(InputError, match="no saved world"):
        load(folder, whole.getvalue())
    with pytest.raises(InputError, match=r"it lacks about, core, site, .*node_last, job_last"):
        load(folder, saving.sealed(whole.getvalue()))


def test_a_missing_table_is_named(folder: Path, saved: bytes) -> None:
    with pytest.raises(InputError, match="it lacks faults; it is no saved world"):
        load(folder, archive(saved, faults=None))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("form", "0123456789ab", "another version of the simulator saved it"),
        ("classes", ["gpu_hang"], "the faults of its profile 'everything' are others"),
        ("scenario", {"name": "x"}, "lacks the field"),
    ],
)
def test_another_versions_file_is_refused(
    folder: Path, saved: bytes, key: str, value: object, said: str
) -> None:
    with np.load(io.BytesIO(saved)) as file:
        about = json.loads(bytes(file["about"]))
    text = json.dumps(about | {key: value}).encode()

    with pytest.raises(InputError, match=said):
        load(folder, archive(saved, about=np.frombuffer(text, dtype=np.uint8)))


def test_places_that_cannot_be_are_named(folder: Path) -> None:
    world = built("quiet")

    with pytest.raises(InputError, match=r"No such file.*name a file in a folder"):
        world.save(folder / "nowhere" / "world.npz")
    with pytest.raises(InputError, match=r"saving a world to .*: Is a directory"):
        world.save(folder)
    with pytest.raises(InputError, match=r"nothing\.npz: No such file"):
        World.load(folder / "nothing.npz")
    with pytest.raises(InputError, match="Is a directory; name a file"):
        World.load(folder)
    assert not list(folder.parent.glob("*.part"))


def test_a_scenario_with_everything_in_it_is_kept(folder: Path) -> None:
    world = busy(start_s=1_712_345_678.4321, history_s=1234.5678)
    world.advance(world.now_s + 100)
    world.save(folder / "odd.npz")
    loaded = World.load(folder / "odd.npz")

    assert loaded.scenario == world.scenario
    assert loaded.scenario != replace(world.scenario, start_s=1_712_345_678.0)
    assert digest(loaded) == digest(world)
