"""The report is one file that needs nothing else, and says what was measured in which unit."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from agent.experiments.report import report
from agent.experiments.results import RunFailed, RunResult
from tests.experiments import result
from tests.real import program


def runs() -> list[RunResult]:
    return [
        replace(
            result(seed, policy=policy, goodput=goodput - 0.01 * seed), settings=(("nodes", nodes),)
        )
        for nodes in ("8", "16", "64")
        for policy, goodput in (("none", 0.6), ("rules", 0.9))
        for seed in range(3)
    ]


def drawings(html: str) -> list[ElementTree.Element]:
    # Our own page is no untrusted data.
    return [ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in  # noqa: S314
            html.split("<svg")[1:]]  # fmt: skip


def test_the_page_needs_no_other_file_and_no_script() -> None:
    html = report(runs(), [])

    assert "<script" not in html
    assert "src=" not in html
    assert "href=" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_every_plot_is_there_twice_with_its_units() -> None:
    html = report(runs(), [])

    found = [each for each in drawings(html) if "chart" in each.get("class", "")]
    kinds = [each.get("class", "").split()[1] for each in found]
    texts = {text.text for each in found for text in each.iter("text")}
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "goodput": 2, "sweep": 2, "stacked": 4, "lanes": 4, "gantt": 4,
    }  # fmt: skip
    assert {
        "goodput, %", "time since the start, h", "lost GPU-hours, mean over seeds",
        "share of the cluster's GPU-hours, %", "nodes",
    } <= texts  # fmt: skip
    assert all(each.get("aria-label") for each in found)


def test_policies_are_held_against_each_other_in_pairs() -> None:
    html = report(runs(), [])

    assert "rules − none" in html
    assert "+30 points" in html


def test_a_name_from_outside_cannot_break_the_page() -> None:
    hostile = replace(result(), scenario="<script>alert(1)</script>", settings=(("a", '"><b>'),))

    html = report([hostile], [RunFailed("<i>x", "<u>y")])

    assert "<script" not in html
    assert '"><b>' not in html
    assert "<i>x" not in html


def test_a_failed_run_is_named_on_the_page() -> None:
    html = report([result()], [RunFailed("rules, seed 7", "job too large for the cluster")])

    assert "rules, seed 7" in html
    assert "job too large for the cluster" in html


def test_a_year_of_faults_stays_a_small_page() -> None:
    one = result()
    many = tuple(
        replace(one.faults[0], onset_s=10.0 * k, mended_s=10.0 * k + 5) for k in range(8000)
    )

    html = report([replace(one, faults=many)], [])

    assert len(html) < 400_000


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_its_screen(width: int, tmp_path: Path) -> None:
    """A real browser lays the page out; only tables may be scrolled sideways, within themselves."""
    page = tmp_path / "report.html"
    # The browser's least window is wider than a phone: the page is shown in a frame.
    page.write_text(report(runs(), []))
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<iframe id="f" src="report.html" style="width:{width}px;height:900px;border:0"></iframe>'
        "<script>onload = () => { const e = document.getElementById('f')"
        ".contentDocument.documentElement; document.body.dataset.found = "
        "JSON.stringify([e.scrollWidth, e.clientWidth]); }</script>"
    )
    done = subprocess.run(
        [
            program("chromium"), "--headless=new", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
            "--disable-component-update", "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.split('data-found="')[1].split('"')[0])

    assert found[0] <= found[1]
