"""``gpumedic xid`` explains a code or a pasted line, and says what it needs instead of neither."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli import app
from core.errors import InputError
from detectors.faults.catalogue import xids

LINE = (
    "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
)


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, ["xid", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def plain(*words: str) -> Any:
    return json.loads(printed(*words, "--json"))


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["xid", *words])
    assert isinstance(done.exception, InputError)
    return str(done.exception)


def test_a_code_is_explained_with_its_action_and_its_source() -> None:
    text = printed("79")

    for part in ("fallen off the bus", "reboot_node", "RESTART_BM", "2025-10-29", "hardware"):
        assert part in text


@pytest.mark.parametrize("words", [["79"], ["Xid 79"], ["xid", "79"], [LINE], LINE.split()])
def test_a_number_and_a_pasted_line_mean_the_same(words: list[str]) -> None:
    assert plain(*words)["code"] == 79


def test_a_gpu_that_is_gone_without_a_number_and_a_switch_are_understood() -> None:
    assert plain("NVRM: GPU 0000:18:00.0: GPU has fallen off the bus.")["code"] == 79
    switch = "nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 12028, Fatal, Link 27"
    assert plain(switch) == plain("sxid 12028") == plain("12028")
    assert plain("12028")["severity"] == "critical"


def test_the_list_has_every_code() -> None:
    rows = plain("--list")["xids"]

    assert [row["code"] for row in rows] == sorted(xids())
    assert printed("--list").count("│ ") >= len(rows)


@pytest.mark.parametrize("word", ["2", "reboot_node"])
def test_the_drivers_own_word_comes_first(word: str) -> None:
    assert plain("62", "--recovery", word)["advice"] == {
        "action": "reboot_node",
        "words": "restart the node",
        "by": "driver",
    }


def test_a_code_that_is_in_no_catalogue_is_said_to_be() -> None:
    found = plain("999")

    assert (found["known"], found["source"]) == (False, "")
    assert "not known here" in found["meaning"]
    assert "lacks this code" in found["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["garbage"], "no code is in it"),
        (["\x00\x1b[2J" * 500], "no code is in it"),
        (["7" * 400], "no code is in it"),
        (["EXT4-fs (sda1): Remounting filesystem read-only"], "it tells of volume readonly"),
        ([], "found none"),
        (["79", "--list"], "found both"),
        (["79", "--recovery", "jump"], "drain_p2p (3)"),
    ],
)
def test_what_is_no_code_is_answered_with_what_would_be(words: list[str], said: str) -> None:
    answer = refused(*words)

    assert said in answer
    assert len(answer) < 800
