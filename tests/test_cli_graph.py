"""The graph's commands show, check, draw and learn links, and say what a bad file lacks."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config import check
from agent.graph_plot import graph_png, places
from agent.graph_table import read_windows, series_of
from core.errors import InputError
from core.target import Target
from rca.graph.links import ALL_LINKS
from tests.command_line import gpumedic
from tests.graph_data import made


def table(path: Path, seed: int = 1, hidden: float = 1.0) -> Path:
    """Write a table as a user exports it from Prometheus: a column for each series."""
    names, rows = [], []
    data = made(seed, hidden=hidden)
    for metric, window in data.items():
        for target, row in zip(window.targets, window.value, strict=True):
            gpu = f',gpu=""{target.gpu}""' if target.gpu else ""
            names.append(f'"{metric}{{node=""{target.node}""{gpu}}}"')
            rows.append([f"{value:.6g}" for value in row])
    times = [f"{moment:.0f}" for moment in data["gpu_power_watts"].time_s]
    lines = [",".join(cells) for cells in zip(times, *rows, strict=True)]
    path.write_text("\n".join([",".join(["time", *names]), *lines]) + "\n")
    return path


async def test_show_prints_the_links_in_force_with_their_source(tmp_path: Path) -> None:
    said = await gpumedic("graph", "show", "--metric", "job_step_time_s", folder=tmp_path)

    assert said.code == 0
    assert "rank_step_time_s raises job_step_time_s (job) within 15 s" in said.out
    assert "mechanism, strength 1, barrier; Jiang et al., MegaScale" in said.out


async def test_show_has_a_users_links_and_draws_them(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text(
        "[[diagnose.link]]\ncause = 'node_open_files_ratio'\neffect = 'rank_data_wait_s'\n"
        "lag_least = '15s'\nlag = '1m'\nlearned = true\n"
    )
    plot = tmp_path / "graph.png"

    words = ("graph", "show", "--config", str(settings), "--json", "--plot", str(plot))
    said = await gpumedic(*words, folder=tmp_path)

    (own,) = [link for link in json.loads(said.out) if link["provenance"] != "mechanism"]
    assert (own["cause"], own["lag_s"], own["strength"]) == ("node_open_files_ratio", [15, 60], 0.2)
    assert own["provenance"] == "learned"
    assert plot.read_bytes()[:4] == b"\x89PNG"


async def test_show_says_that_no_link_has_a_metric(tmp_path: Path) -> None:
    said = await gpumedic("graph", "show", "--metric", "gpu_power_wats", folder=tmp_path)

    assert said.code == 1
    assert "no link has a metric of that name; the nearest are gpu_power_watts" in said.err
    assert said.plain


async def test_check_and_learn_say_what_readings_show(tmp_path: Path) -> None:
    file, into = table(tmp_path / "normal.csv"), tmp_path / "learned.toml"

    checked = await gpumedic("graph", "check", str(file), "--json", folder=tmp_path)
    learned = await gpumedic("graph", "learn", str(file), "--out", str(into), folder=tmp_path)

    seen: Any = json.loads(checked.out)
    assert {link["verdict"] for link in seen["links"]} == {"supported"}
    (missing,) = seen["suggested"]
    assert (missing["cause"], missing["directed"]) == ("node_cpu_used_ratio", True)
    assert "node_cpu_used_ratio raises gpu_temperature_celsius (node)" in learned.out
    (link,) = tomllib.loads(into.read_text())["diagnose"]["link"]
    assert (link["cause"], link["learned"]) == ("node_cpu_used_ratio", True)
    assert check([into], environ={}) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,a,b\n0,1,2\n15,1,2\n", "names a metric of the catalogue and its target"),
        ("", "it is empty"),
        ('time,"node_up{node=""a""}"\n0,1\n', "an uneven grid"),
    ],
    ids=["no series", "empty", "one row"],
)
async def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)

    found = await gpumedic("graph", "check", str(file), folder=tmp_path)

    assert found.code == 1
    assert said in found.err
    assert found.plain


def test_a_series_is_known_by_its_metric_and_labels() -> None:
    gpu = Target(node="n1", gpu="GPU-1")

    assert series_of('gpu_power_watts{node="n1",gpu="GPU-1"}') == ("gpu_power_watts", gpu)
    assert series_of(' gpumedic_node_up { node = "n\\"1" } ') == ("node_up", Target(node='n"1'))
    assert series_of("gpu_power_watts") is None
    assert series_of("gpu_power_watts{gpu=") is None
    assert series_of('other{node="n1"}') is None


def test_series_that_are_none_of_ours_are_left_out_and_named(tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text('time,other,"node_up{node=""a""}"\n0,1,1\n15,1,1\n30,1,0\n')

    windows, notes = read_windows(file)

    assert windows["node_up"].value.tolist() == [[1.0, 1.0, 0.0]]
    assert any("1 series are left out, such as 'other'" in note for note in notes)
    with pytest.raises(InputError, match="Name a CSV or Parquet file"):
        read_windows(tmp_path / "none.csv")


def test_a_picture_has_causes_left_of_effects_and_metrics_apart() -> None:
    place = places(ALL_LINKS)

    forward = [link for link in ALL_LINKS if not link.feedback]
    assert all(place[link.cause][0] < place[link.effect][0] for link in forward)
    assert len(set(place.values())) == len(place)
    assert graph_png(ALL_LINKS[:1])[:4] == b"\x89PNG"
