"""A policy acts only after it has passed, and the runbook where its file is not what was passed."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.acting import acting
from agent.adoption import FORMAT, Adopted, Adoption, digest_of
from agent.cli import app
from agent.config import Reloader, Settings
from agent.config import load as load_settings
from agent.config.forms import POLICIES
from agent.evaluations.policies import promotion
from agent.known_policies import known_policies
from core.choice import Choice
from core.clock import ManualClock
from core.errors import ActionRefused, InputError
from remediation.evaluation.gate import Verdict
from remediation.evaluation.suites import Suite
from remediation.learning.families import TRAIN, TUNING_SEED
from remediation.policies.greedy import Greedy
from remediation.policies.learned import SHIPPED, LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.trained import load
from tests.command_line import gpumedic
from tests.loop import loop
from tests.policy_files import policy_file

PASSED = Verdict("rl", "t", "tuned_runbook", 60, 0.8, 0.7, 0.9, (), 0, ())
REFUSED = replace(PASSED, ratio=1.2, low=1.1, high=1.3, refused=("it loses more.",))


def adopted(file: Path, verdict: Verdict = PASSED, at_s: float = 1e9) -> Adopted:
    return Adopted(
        FORMAT, digest_of(file), at_s, "ann", "0.1", "gpumedic policy promote", (1,), verdict
    )


def settings(folder: Path, **policy: Any) -> Settings:
    chosen: dict[str, Any] = {"state_dir": folder, "policy": policy}
    return Settings(**chosen)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    one = policy_file(tmp_path / "one.npz", version="one")
    return one, policy_file(tmp_path / "two.npz", prefers=Choice.SWAP, version="two")


def test_the_twin_acts_where_nothing_is_said(tmp_path: Path) -> None:
    found = acting(settings(tmp_path))

    assert found.apart == "twin"
    assert isinstance(found.chooser, Greedy)  # until the twin is ready, and where it is late
    assert (found.shadow, found.problems) == (None, ())


def test_an_adopted_policy_acts_where_the_settings_say_so(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    Adoption(tmp_path).adopt(files[0], adopted(files[0]))

    found = acting(settings(tmp_path, use="adopted"))

    assert isinstance(found.chooser, LearnedChooser)
    assert found.chooser.version == "one"
    assert found.problems == ()
    assert acting(settings(tmp_path)).apart == "twin"


def test_a_policy_that_did_not_pass_is_not_adopted(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    adoption = Adoption(tmp_path)

    with pytest.raises(ActionRefused, match="it loses more"):
        adoption.adopt(files[0], adopted(files[0], REFUSED))
    assert adoption.current() is None


def test_a_file_that_was_not_the_one_evaluated_is_not_adopted(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    with pytest.raises(ActionRefused, match="it is not the file that was evaluated"):
        Adoption(tmp_path).adopt(files[1], adopted(files[0]))


def test_roll_back_brings_back_who_acted_before_and_then_the_runbook(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    adoption, records = Adoption(tmp_path), [adopted(file) for file in files]
    for file, record in zip(files, records, strict=True):
        adoption.adopt(file, record)
    assert adoption.before() == (records[0],)

    assert adoption.roll_back() == records[0]
    policy = adoption.policy()
    assert policy is not None
    assert policy.training.version == "one"
    assert adoption.roll_back() is None
    assert adoption.policy() is None
    with pytest.raises(ActionRefused, match="Nothing to roll back"):
        adoption.roll_back()


def test_only_the_last_are_kept(tmp_path: Path) -> None:
    adoption = Adoption(tmp_path)
    for number in range(13):
        file = policy_file(tmp_path / f"{number}.npz", version=str(number))
        adoption.adopt(file, adopted(file))

    assert len(adoption.before()) == 10
    assert len([each for each in adoption.folder.iterdir() if each.is_dir()]) == 11


@pytest.mark.parametrize("damage", ["cut", "altered", "gone", "record", "pointer", "format"])
def test_damage_to_an_adopted_policy_leaves_the_runbook_and_is_shown(
    tmp_path: Path, files: tuple[Path, Path], damage: str
) -> None:
    adoption = Adoption(tmp_path)
    adoption.adopt(files[0], adopted(files[0]))
    own = adoption.folder / digest_of(files[0])
    policy, record = own / "policy.npz", own / "evaluation.json"
    match damage:
        case "cut":
            policy.write_bytes(policy.read_bytes()[:200])
        case "altered":
            policy.write_bytes(files[1].read_bytes())
        case "gone":
            policy.unlink()
        case "record":
            record.write_text("{")
        case "pointer":
            (adoption.folder / "adopted.json").write_text("[]")
        case _:
            data = json.loads(record.read_text())
            record.write_text(json.dumps({**data, "format": FORMAT + 1}))

    found = acting(settings(tmp_path, use="adopted"))

    assert isinstance(found.chooser, Runbook)
    assert len(found.problems) == 1
    assert found.problems[0].source == "policy"
    assert "adopted" in found.problems[0].text


def test_nothing_adopted_is_a_problem_where_it_should_act(tmp_path: Path) -> None:
    found = acting(settings(tmp_path, use="adopted"))

    assert isinstance(found.chooser, Runbook)
    assert "gpumedic policy promote FILE" in found.problems[0].text


def test_a_shadow_is_a_name_or_a_file_and_a_bad_one_stops_nothing(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    named = acting(settings(tmp_path, shadow="greedy")).shadow
    of_file = acting(settings(tmp_path, shadow=str(files[0]))).shadow
    bad = acting(settings(tmp_path, shadow=str(tmp_path / "none.npz")))

    assert named is not None
    assert named.name == "greedy"
    assert of_file is not None
    assert of_file.version == "one"
    assert bad.shadow is None
    assert bad.apart == "twin"
    assert "none.npz" in bad.problems[0].text


def config(tmp_path: Path, text: str = "") -> str:
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n{text}')
    return str(file)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["policy", *words])


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_that_may_act_is_shipped_or_adopted(
    name: str, tmp_path: Path, files: tuple[Path, Path]
) -> None:
    Adoption(tmp_path).adopt(files[0], adopted(files[0]))

    chosen = settings(tmp_path, use=name)
    (acts,) = [each for each in known_policies(chosen) if each.acts]

    assert acts.comes == ("adopted" if name == "adopted" else "shipped")
    assert acting(chosen).problems == ()
    assert acts.evaluation


def test_the_runbook_acts_where_none_is_adopted_that_should(tmp_path: Path) -> None:
    first = known_policies(settings(tmp_path, use="adopted"))[0]

    assert (first.name, first.acts) == ("runbook", True)
    said = run("list", "--config", config(tmp_path, '[policy]\nuse = "adopted"\n')).stdout
    assert "None was adopted here: the runbook acts." in said


def test_a_file_may_look_on_and_may_not_act(tmp_path: Path, files: tuple[Path, Path]) -> None:
    assert settings(tmp_path, shadow=str(files[0])).policy.shadow == str(files[0])
    with pytest.raises(ValueError, match="acts after `gpumedic policy promote FILE`"):
        settings(tmp_path, use=str(files[0]))


@pytest.fixture
def small_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives of one family instead of six, and not the gate's own."""
    monkeypatch.setattr(promotion, "GATE", Suite((TRAIN,), TUNING_SEED))


@pytest.mark.usefixtures("small_gate")
def test_a_policy_that_is_better_is_promoted_and_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped policy, against doing nothing."""
    where, file = config(tmp_path, '[policy]\nuse = "adopted"\n'), tmp_path / "mine.npz"
    file.write_bytes(SHIPPED.read_bytes())
    monkeypatch.setattr(promotion, "TUNED", "no_op")

    said = run("promote", str(file), "--quick", "--config", where)

    assert said.exit_code == 0
    assert "Adopted mine.npz." in said.stdout
    shown = json.loads(run("show", "--json", "--config", where).stdout)
    assert shown["acts"]["name"] == "learned"
    assert shown["adopted"]["verdict"]["high"] < 1.0
    assert shown["adopted"]["verdict"]["lives"] == 10


def test_what_acts_already_is_not_what_a_roll_back_comes_to(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    adoption = Adoption(tmp_path)
    for at_s in (1e9, 2e9):
        adoption.adopt(files[0], adopted(files[0], at_s=at_s))

    now = adoption.current()
    assert now is not None
    assert (now.at_s, adoption.before()) == (2e9, ())
    assert adoption.roll_back() is None


@pytest.mark.usefixtures("small_gate")
def test_a_refused_promotion_exits_3_and_changes_nothing(tmp_path: Path) -> None:
    """It was taught nothing, so its fallback decides: that is the runbook, and no better."""
    file = policy_file(tmp_path / "same.npz")

    said = run("promote", str(file), "--quick", "--config", config(tmp_path))

    assert isinstance(said.exception, ActionRefused)
    assert "the whole interval must be below 1" in str(said.exception)
    assert Adoption(tmp_path).current() is None


@pytest.mark.parametrize("name", ["runbook", "oracle", "twin_over_rl"])
def test_a_file_with_another_policys_name_is_not_evaluated(tmp_path: Path, name: str) -> None:
    file = policy_file(tmp_path / f"{name}.npz")

    said = run("promote", str(file), "--config", config(tmp_path))

    assert isinstance(said.exception, InputError)
    assert "is the name of another policy; rename the file" in str(said.exception)


async def test_the_exit_code_of_a_refusal_is_3(tmp_path: Path) -> None:
    said = await gpumedic("policy", "rollback", "--config", config(tmp_path))

    assert said.code == 3
    assert "The runbook acts already." in said.err


@pytest.mark.parametrize("damage", ["cut", "altered", "none"])
def test_a_file_that_cannot_be_used_is_not_even_evaluated(tmp_path: Path, damage: str) -> None:
    file = policy_file(tmp_path / "p.npz")
    if damage == "none":
        file.unlink()
    else:
        data = file.read_bytes()
        file.write_bytes(data[:-300] if damage == "cut" else b"no policy at all")

    said = run("promote", str(file), "--config", config(tmp_path))

    assert isinstance(said.exception, InputError)
    assert "p.npz" in str(said.exception)


def test_show_and_list_say_who_acts_and_on_what_it_was_let_in(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    where = config(tmp_path, '[policy]\nuse = "adopted"\nshadow = "greedy"\n')
    Adoption(tmp_path).adopt(files[0], adopted(files[0]))

    shown = json.loads(run("show", "--json", "--config", where).stdout)
    listed = json.loads(run("list", "--json", "--config", where).stdout)

    assert shown["acts"]["version"] == "one"
    assert shown["shadow"]["name"] == "greedy"
    assert shown["adopted"]["verdict"]["ratio"] == 0.8
    first = listed["policies"][0]
    assert (first["comes"], first["version"], first["acts"]) == ("adopted", PASSED.version, True)
    assert digest_of(files[0])[:12] in first["evaluation"]
    on = [each["name"] for each in listed["policies"] if each["looks_on"]]
    assert (on, "oracle" in listed["for_study"]) == (["greedy"], True)
    shown_too = run("list", "--config", where).stdout.split()  # a narrow terminal breaks lines
    assert [word for word in ("0.800", "(0.700", "0.900)") if word not in shown_too] == []


def test_a_kept_policy_is_the_one_that_was_promoted(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    adoption = Adoption(tmp_path)
    adoption.adopt(files[1], adopted(files[1]))

    kept = adoption.policy()

    assert kept is not None
    assert kept.training == load(files[1]).training
    files[1].unlink()
    assert adoption.policy() is not None


async def test_a_reload_brings_an_adopted_policy_in_and_shows_a_damaged_one(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    app = await loop(tmp_path / "state", ManualClock(), policy={"use": "adopted"})
    try:
        heal = app.controller.heal
        assert heal.policy.name == "runbook"
        assert [each.source for each in app.controller.view().problems] == ["policy"]

        adoption = Adoption(tmp_path / "state")
        adoption.adopt(files[0], adopted(files[0]))
        app.apply(settings(tmp_path / "state", use="adopted", shadow="runbook"))

        assert (heal.policy.name, heal.policy.version) == ("learned", "one")
        assert heal.shadow is not None
        assert app.controller.view().problems == ()

        (adoption.folder / digest_of(files[0]) / "policy.npz").write_bytes(b"torn")
        app.apply(settings(tmp_path / "state", use="adopted"))

        assert heal.policy.name == "runbook"
        assert heal.shadow is None
        assert "its digest is" in app.controller.view().problems[0].text
    finally:
        await app.close()


async def test_a_reload_lets_another_policy_act_and_another_look_on(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    read = partial(load_settings, [file], environ={})
    file.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    app = await loop(tmp_path / "state", ManualClock())
    try:
        reloader = Reloader(read(), read=read, apply=app.apply)
        with file.open("a") as more:
            more.write('[policy]\nuse = "greedy"\nshadow = "runbook"\nexplore = 0.01\n')

        changed = reloader.reload()

        heal = app.controller.heal
        assert not any(change.needs_restart for change in changed)
        assert (heal.policy.name, heal.shadow and heal.shadow.name) == ("greedy", "runbook")
    finally:
        await app.close()
