"""Wrong settings: every problem at once, each with its key, place, value and what would work."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import SettingsRefused, check, load, read_secret
from core.errors import ConfigError

ENV: Mapping[str, str] = {}


def problems(folder: Path, text: str, environ: Mapping[str, str] = ENV) -> list[str]:
    path = folder / "config.toml"
    path.write_text(text)
    return [str(problem) for problem in check([path], environ=environ)]


def test_good_settings_have_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, '[history]\nstep = "30s"\n') == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[history]\nstpe = "3s"', 2, "there is no key history.stpe; the nearest is history.step."),
        ("[guard]\nmax_nodes_out = 1", 1, "there is no key guard; the nearest is guards."),
        ('interval = "3s"', 1, "there is cycle.interval and host.interval and checks.interval."),
        ("[log]\nmin_probability = 1", 2, "there is forecast.min_probability and guards.min_prob"),
        ("[log]\nzzz = 1", 2, "there is no key log.zzz; log has level, format."),
        (
            "[[webhooks]]\nname='a'\nurl='http://a'\nulr='b'",
            4,
            "no key webhooks.0.ulr; the nearest is webhooks.url.",
        ),
        (
            "[history]\nstep = 15",
            2,
            "history.step = 15 is not a duration: write a number and a uni",
        ),
        ('[history]\nstep = "15"', 2, 'such as "15s" or "1h30m". The default is "15s".'),
        ('[history]\nstep = "-1s"', 2, 'history.step = "-1s" is not a duration'),
        ('[history]\nstep = "1ms"', 2, 'history.step = "1ms" is too small: write at least "1s".'),
        ('[server]\nmax_body = "5"', 2, 'max_body = "5" is not a size: write a number and a unit'),
        ('[guards]\nmax_nodes_out = "x"', 2, "must be a whole number. The default is 4."),
        ("[guards]\nmax_nodes_out = true", 2, "guards.max_nodes_out = true is not a number"),
        ("[guards]\nmax_nodes_out = -1", 2, "must be greater than or equal to 0"),
        ("[guards]\nmax_ratio_out = 0", 2, "guards.max_ratio_out = 0 must be greater than 0"),
        ("[guards]\nmax_ratio_out = 10", 2, "must be less than or equal to 1"),
        ("[guards]\nmin_probability = nan", 2, "must be a finite number"),
        (
            "[[guards.maintenance]]\nnodes = ['a']\nend = '2026-12-01T00:00:00Z'\nstart = 'today'",
            4,
            "is no time: write it with its zone",
        ),
        ("[host]\nenabled = 'maybe'", 2, 'host.enabled = "maybe" must be true or false'),
        ("history = 5", 1, "history must be a table: write its name in [brackets]"),
        ("[host]\nvolumes = '/a'", 2, "must be a list in [brackets]"),
        ("[[autonomy]]\nmode = 'on'", 2, "must be 'observe', 'suggest', 'approve' or 'auto'"),
        ("[[autonomy]]\naction = 'un*'\nmode = 'x'", 3, "must be 'observe', 'suggest'"),
        (
            "[[autonomy]]\naction = 'cordn'\nmode = 'auto'",
            2,
            'action = "cordn" matches no action; the nearest is cordon.',
        ),
        ("[[webhooks]]\nname = 'ops'", 2, "webhooks.0.url is missing: add it."),
        ("[prometheus]\nmetrics = ['gpu_temp']", 2, "the nearest is gpu_temperature_celsius"),
        ("[forecast.limits]\ngpu_power = 1", 2, "gpu_power is not a metric of the catalogue"),
        (
            "[forecast.limits]\nvolume_used_ratio = 95",
            2,
            "volume_used_ratio = 95 can never be crossed: the metric lies between 0 and 1 ratio.",
        ),
        ("[prometheus]\nurl = 'localhost:9090'", 2, 'write it like "http://prometheus.example:90'),
        ("[prometheus]\nurl = 'http://a:99999'", 2, "is not an address"),
        ("[prometheus]\nurl = 'http://[::1'", 2, "is not an address"),
        ("[server]\nlisten = '8642'", 2, 'write it like "127.0.0.1:8642"'),
        ("[server]\nlisten = '::1:8642'", 2, '"[::1]:8642"'),
        ("[server]\nlisten = 'a:70000'", 2, "is not an address to listen on"),
        ('cluster = "a\\nb"', 1, "holds a line break or control character"),
        ("state_dir = 'var'", 1, "is not an absolute path: write it from / on"),
        ("[prometheus]\nca_file = 'ca.pem'", 2, "is not an absolute path"),
        ("[host]\nvolumes = ['/ok', 'scratch']", 2, 'volumes.1 = "scratch" is not an absolute'),
        ("[prometheus.labels]\nnode = 'a-b'", 2, "is not a label name: write letters"),
        ("[prometheus]\nurl = 'http://a/#b'", 2, "has a part after #"),
        (
            "[[webhooks]]\nname='a'\nurl='http://a'\nallowed_networks=['10.0.0.1/8']",
            4,
            'is not a network (10.0.0.1/8 has host bits set): write it like "10.0.0.0/8"',
        ),
        ("cluster = ''", 1, "must have at least 1 character"),
    ],
)
def test_a_wrong_key_names_its_line_and_what_would_work(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    (problem,) = problems(tmp_path, text)

    assert problem.startswith(f"{tmp_path}/config.toml:{line}: ")
    assert said in problem


@pytest.mark.parametrize(
    ("text", "key", "other"),
    [
        ("[forecast]\nhorizon='20s'", "forecast.horizon", "history.step"),
        ("[history]\nspan='3h'", "history.span", "twice forecast.horizon"),
        ("[diagnose]\nnormal_span='2d'", "history.span", "diagnose.normal_span"),
        ("[cycle]\nrefit='5s'", "cycle.refit", "cycle.interval"),
        ("[detect]\nsilence_after='20s'", "detect.silence_after", "twice history.step"),
        ("[guards]\nevidence_max_age='5s'", "guards.evidence_max_age", "cycle.interval"),
        (
            "[[guards.maintenance]]\nnodes=['a']\nstart='2026-12-02T00:00:00Z'\n"
            "end='2026-12-01T00:00:00Z'",
            "guards.maintenance.0.end",
            "is not after its start",
        ),
        ("[guards]\nowners_agree=['tune_jog']", "guards.owners_agree.0", "matches no action"),
        ("[forecast]\nsustain='5s'", "forecast.sustain", "or 0s for a single reading"),
        ("[history]\nspan='300w'", "history.span", "more than 100,000"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, key: str, other: str
) -> None:
    (problem,) = problems(tmp_path, text)

    assert f"{key} = " in problem
    assert other in problem


def test_two_webhooks_of_one_name_are_refused(tmp_path: Path) -> None:
    one = "[[webhooks]]\nname = 'ops'\nurl = 'http://a.example'\n"

    assert "2 webhooks have the name 'ops'" in problems(tmp_path, one * 2)[0]


def linked(cause: str, effect: str, more: str = "") -> str:
    return f"[[diagnose.link]]\ncause = '{cause}'\neffect = '{effect}'\n{more}\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (linked("gpu_temp", "port_up"), 2, "the nearest is gpu_temperature_celsius; no other is c"),
        (linked("node_up", "port_up", "join = 'rack'"), 4, "must be 'gpu', 'port', 'volume', 'no"),
        (linked("node_up", "job_loss"), 2, 'join = "node" cannot link node_up to job_loss: write '),
        (linked("node_up", "port_up", "sign = 0"), 4, "diagnose.link.0.sign = 0 must be 1 or -1."),
        (linked("node_up", "port_up", "lag_least = '1m'"), 2, "lag = 15s is too short: it must b"),
        (
            linked("node_up", "port_up") * 2,
            2,
            "node_up -> port_up (node) is there twice; keep one.",
        ),
        (linked("node_up", "node_up"), 2, "form a cycle: node_up -> node_up. A cause must come be"),
        (
            linked("gpu_sm_clock_hz", "gpu_power_watts", "join = 'gpu'"),
            2,
            "gpu_power_watts -> gpu_temperature_celsius -> ",
        ),
    ],
)
def test_a_causal_link_that_cannot_be_is_refused(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    (found,) = problems(tmp_path, text)

    assert f"config.toml:{line}: " in found
    assert said in found


def test_all_problems_of_all_layers_come_in_one_go(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[history]\nstep = 15\nspan = "1h"\n[cyle]\nx = 1\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("x = [")
    environ = {
        "GPUMEDIC__GUARDS__COOLDOWN": "5",
        "GPUMEDIC__WEBHOOKS": "[x",
        "GPUMEDIC__FOO": "1",
    }

    with pytest.raises(SettingsRefused) as refused:
        load([tmp_path, tmp_path / "gone"], environ=environ, flags={"log.level": "loud"})

    text = str(refused.value)
    assert text.startswith("Reading the settings: 9 problems found.\n- ")
    for said in (
        "gone: there is no such file",
        "conf.d/a.toml: is not TOML",
        "environment GPUMEDIC__WEBHOOKS: webhooks is not JSON",
        "config.toml:2: history.step = 15",
        "config.toml:4: there is no key cyle; the nearest is cycle.",
        'environment GPUMEDIC__GUARDS__COOLDOWN: guards.cooldown = "5"',
        "environment GPUMEDIC__FOO: there is no key foo; there are cluster, state_dir",
        'flag --log-level: log.level = "loud" must be',
        "config.toml:3: history.span = 1h is too short",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[history]\nstep = 15s\n", "is not TOML: "),
        (b"[history]\nstep = 15s\n", "line 2"),
        (b"[history\n", "line 1"),
        (b"x = 1\nx = 2\n", "line 2"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (b"x = " + b"[" * 100_000, "is not TOML"),
        (b"\x00", "is not TOML"),
    ],
)
def test_a_file_that_is_no_toml_says_where(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)

    (problem,) = check([path], environ={})

    assert said in str(problem)
    assert problem.place == str(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b'\xef\xbb\xbfcluster = "a"\n')

    assert load([path], environ={}).settings.cluster == "a"


@pytest.mark.parametrize(
    "text",
    [
        "[prometheus]\ntoken_file = 'hunter2'",
        "[prometheus]\ntoken = 'hunter2'",
        "[server]\nalerts_secret = 'hunter2'",
        "[prometheus]\nurl = 'http://me:hunter2@prometheus.example'",
        "[alertmanager]\nurl = 'ftp://me:hunter2@a.example'",
        "[[webhooks]]\nname = 'a'\nurl = 'ftp://hooks.example/hunter2'",
        "[[webhooks]]\nname = 'a'\nurl = 'http://a.example'\nsecret_file = 'hunter2'",
        "webhooks = ['hunter2']",
        "webhooks = 'hunter2'",
        "[prometheus.token_file]\na = 'hunter2'",
        "prometheus = 'hunter2'",
        "[server]\nalerts_secret_file = ['hunter2']",
        "[prometheus]\ntoken_file = '/run/hunter2\\n'\npassword = 'hunter2'",
    ],
)
def test_a_secret_written_inline_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    found = problems(tmp_path, text.replace("\\n", ""))

    assert found
    assert "hunter2" not in " ".join(one for one in found if "/run/hunter2" not in one)


def test_a_secret_in_the_environment_is_not_repeated_either() -> None:
    environ = {"GPUMEDIC__PROMETHEUS__TOKEN_FILE": "hunter2", "GPUMEDIC__WEBHOOKS": "hunter2"}

    with pytest.raises(SettingsRefused) as refused:
        load([], environ=environ)

    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(refused.value.__cause__) + repr(refused.value.__context__)


def secret(folder: Path, mode: int, text: str = "s3cret\n") -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_file_that_others_read_is_warned_of(tmp_path: Path) -> None:
    path = secret(tmp_path, 0o644)
    flags = {"prometheus.token_file": str(path)}

    (warning,) = load([], environ={}, flags=flags).warnings
    path.chmod(0o640)

    assert str(warning).endswith(f"names {path}, which every user may read: chmod 0640 {path}.")
    assert load([], environ={}, flags=flags).warnings == ()


def test_a_secret_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f"[prometheus]\ntoken_file = '{tmp_path}/gone'")

    assert f"prometheus.token_file names {tmp_path}/gone, which is not there" in problem


@pytest.mark.parametrize("listen", [":8642", "10.0.0.1:8642", "[::]:8642", "gpu-head:8642"])
def test_a_page_for_the_whole_network_is_warned_of(listen: str) -> None:
    (warning,) = load([], environ={}, flags={"server.listen": listen}).warnings

    assert "lets other machines see the page" in str(warning)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "[::1]:0", "localhost:8642"])
def test_a_page_for_this_machine_is_not_warned_of(listen: str) -> None:
    assert load([], environ={}, flags={"server.listen": listen}).warnings == ()


def test_a_credential_seen_from_outside_the_service_is_only_a_warning(tmp_path: Path) -> None:
    flags = {"server.alerts_secret_file": "credential:alerts"}

    (outside,) = load([], environ={}, flags=flags).warnings
    (inside,) = load([], environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}, flags=flags).warnings

    assert "LoadCredential=alerts:FILE" in str(outside)
    assert f"{tmp_path}/alerts, which cannot be looked at here" in str(inside)


def test_a_secret_is_read_from_its_file_or_from_systemd(tmp_path: Path) -> None:
    path = secret(tmp_path, 0o600)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert read_secret(str(path), environ={}) == "s3cret"
    assert read_secret("credential:secret", environ=environ) == "s3cret"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("credential:secret", "Add LoadCredential=secret:FILE to the unit"),
        ("/nowhere/secret", "No such file"),
    ],
)
def test_a_secret_that_is_not_there_says_how_to_give_it(reference: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_secret(reference, environ={})


def test_an_empty_secret_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is empty"):
        read_secret(str(secret(tmp_path, 0o600, " \n")), environ={})


@pytest.mark.parametrize("name", ["../shadow", "a/b", "", ".."])
def test_a_credential_is_a_plain_name(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, f"[prometheus]\ntoken_file = 'credential:{name}'")

    assert "names no file" in problem


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
SECTIONS = ("cluster", "history", "forecast", "webhooks", "autonomy", "prometheus", "server", "x")


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), JUNK), st.dictionaries(st.text(max_size=9), JUNK))
def test_junk_is_refused_in_words_and_never_crashes(
    sections: dict[str, object], forecast: dict[str, object]
) -> None:
    names = {f"GPUMEDIC__{name.upper()}": json.dumps(value) for name, value in sections.items()}
    names["GPUMEDIC__FORECAST"] = json.dumps(forecast)

    for problem in check([], environ=names):
        assert str(problem).startswith("environment GPUMEDIC__")
