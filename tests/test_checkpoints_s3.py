"""Copies in an object store: moto's S3 server, which speaks Amazon's protocol over HTTP."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import fsspec
import pytest

from agent.checkpoints.places import PARTIAL, Copy, Place
from agent.launch.jobside.gpumedic_job.manifest import FileSum, Manifest
from tests.checkpoint_copies import contents
from tests.checkpoint_files import save, save_distributed
from tests.command_line import ROOT, gpumedic
from tests.real import missing

BUCKET = "copies"
PLACE = f"s3://{BUCKET}/llama"
ROWS = 60_000  # 12 MB: more than one part of an upload, which are of 5 MB at least


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an empty store with one bucket, by the environment; return its address."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ModuleNotFoundError as error:
        missing(f"{error.name} is not installed: make installs it")
    served = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").mkdir(BUCKET)
    yield f"http://{host}:{port}"
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    served.stop()
    s3fs.S3FileSystem.clear_instance_cache()


async def test_what_was_copied_to_a_bucket_comes_back_to_the_last_byte(
    tmp_path: Path, server: str
) -> None:
    job, new = tmp_path / "job", tmp_path / "new"
    job.mkdir()
    save(job / "step_4.pt", 4)
    save_distributed(job / "step_5", 5)
    save(job / "step_6.pt", 6, rows=ROWS)

    sent = await gpumedic("checkpoints", "backup", str(job), "--to", PLACE, "--read-back")
    folder = await gpumedic("checkpoints", "backup", str(job), "step_5", "--to", PLACE)
    listed = await gpumedic("checkpoints", "copies", PLACE, "--json")
    back = await gpumedic("checkpoints", "restore", str(new), "--from", PLACE)
    older = await gpumedic("checkpoints", "restore", str(new / "b"), "step_5", "--from", PLACE)

    assert [each.code for each in (sent, folder, listed, back, older)] == [0] * 5, (sent, back)
    names = [each["name"] for each in json.loads(listed.out)["copies"]]
    assert names == ["step_6.pt", "step_5"]
    assert contents(new / "step_6.pt") == contents(job / "step_6.pt")
    assert contents(new / "b" / "step_5") == contents(job / "step_5")
    assert Place(PLACE).partial() == {}


async def test_a_copy_whose_process_was_killed_is_none_and_is_gone_on_with(
    tmp_path: Path, server: str
) -> None:
    job = tmp_path / "job"
    save_distributed(job / "step_5", 5)
    save(job / "step_5" / "extra.pt", 5, rows=ROWS)
    words = ("checkpoints", "backup", str(job), "--to", PLACE)
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", *words, "--limit", "3MB"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "GPUMEDIC__STATE_DIR": str(tmp_path)},
    )
    half: Mapping[str, int] = {}
    async with asyncio.timeout(60):
        while not half:
            half = await asyncio.to_thread(Place(PLACE).partial)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()

    assert all(path.startswith(f"{PARTIAL}/step_5/") for path in half)
    assert Place(PLACE).copies() == ()
    again = await gpumedic(*words, "--read-back")
    (copy,) = Place(PLACE).copies()
    assert (again.code, copy.name, copy.whole) == (0, "step_5", True)
    assert Place(PLACE).partial() == {}


def test_what_is_added_to_a_file_of_a_bucket_follows_what_was_there(server: str) -> None:
    """The rest of a file is sent after what an earlier try has left of it, small or large."""
    place = Place(PLACE)
    for first, rest in ((b"a" * 100, b"b" * 50), (b"a" * 6_000_000, b"b" * 7_000_000)):
        place.remove("file")
        for data, append in ((first, False), (rest, True)):
            file = place.open("file", append=append)
            place.write(file, data)
            place.close(file)

        assert place.size("file") == len(first + rest)
        assert place.read("file") == first + rest


def test_a_name_that_begins_like_another_is_another(server: str) -> None:
    """A bucket has no folders: what is moved or removed is not all that begins so."""
    place = Place(PLACE)
    manifest = Manifest(1, "x", 1, 1.0, "", None, None, 1, (FileSum("a", 1, ("",)),)).sealed()
    copy = Copy("step_1", manifest, folder=True, pending=True)
    others = (f"{PARTIAL}/step_10/a", "step_10/a", "step_1.pt")
    for name in (copy.path("a"), "step_1/old", *others):
        file = place.open(name)
        place.write(file, name.encode())
        place.close(file)

    place.settle(copy)
    settled = place.read("step_1/a")
    place.drop(replace(copy, pending=False))

    assert settled == copy.path("a").encode()
    assert [place.read(name) for name in others] == [name.encode() for name in others]
    gone = (copy.path("a"), copy.manifest_at, "step_1/a", "step_1/old")
    assert [place.size(name) for name in gone] == [None] * 4


def test_what_s3_copies_in_one_part_is_what_is_added_to(server: str) -> None:
    assert Place(PLACE).can_add_to(5 * 2**30)
    assert not Place(PLACE).can_add_to(5 * 2**30 + 1)


async def test_a_bucket_that_is_not_there_is_not_made(tmp_path: Path, server: str) -> None:
    save(tmp_path / "step_1.pt", 1)

    said = await gpumedic("checkpoints", "backup", str(tmp_path), "--to", "s3://coppies/llama")

    assert (said.code, said.plain) == (1, True)
    assert "there is no bucket coppies" in " ".join(said.err.split())
    assert not fsspec.filesystem("s3").exists("coppies")


async def test_a_store_that_is_away_is_told_of_in_a_sentence(tmp_path: Path, server: str) -> None:
    save(tmp_path / "step_1.pt", 1)
    nobody = server.rpartition(":")[0] + ":1"

    words = ("checkpoints", "backup", str(tmp_path), "--to", PLACE)
    said = await gpumedic(*words, AWS_ENDPOINT_URL=nobody)

    assert said.plain
    assert said.code == 1
    assert "See that the place is there" in " ".join(said.err.split())
