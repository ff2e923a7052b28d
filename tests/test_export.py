"""What is exported for Prometheus and Grafana is right to the letter, and names what there is."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.exported import units
from agent.metrics import Metrics
from core.exporters import OWN_PREFIX
from core.units import CATALOG
from tests.real import program

NAME = re.compile(r"\bgpumedic_[a-z0-9_]+")
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def expressions(part: Any) -> Iterator[str]:
    """Yield every query of a dashboard, its variables filled in."""
    for panel in part["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$node", ".*")


def known() -> set[str]:
    """Every metric that the controller's page and a node's page can show."""
    own = {
        name
        for family in Metrics(version="", mode="").registry.collect()
        for name in (family.name, *(sample.name for sample in family.samples))
    }
    totals = {f"{name}_total" for name in own}
    read = {OWN_PREFIX + name for name in (*CATALOG, "read_problems")}
    return own | totals | read


def test_the_rules_and_the_dashboard_are_taken_by_prometheus(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(printed("rules"))
    queries = list(expressions(json.loads(printed("dashboard"))))
    recorded = [{"record": f"query_{n}", "expr": expr} for n, expr in enumerate(queries)]
    asked = tmp_path / "queries.yml"
    asked.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))

    command = [program("promtool"), "check", "rules", str(rules), str(asked)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"SUCCESS: {len(queries)} rules found" in checked.stdout


@pytest.mark.parametrize("what", ["rules", "dashboard"])
def test_every_metric_that_is_asked_for_is_one_that_is_shown(what: str) -> None:
    names = {HISTOGRAM.sub("", name) for name in NAME.findall(printed(what))}

    assert len(names) > 10
    assert names - known() == set()


def test_each_alert_says_what_helps() -> None:
    alerts = printed("rules").split("- alert: ")[1:]

    assert [text.splitlines()[0] for text in alerts if "remedy:" not in text] == []
    assert [text.splitlines()[0] for text in alerts if "severity:" not in text] == []


def test_units_are_printed_by_their_short_name_too() -> None:
    assert printed("unit").split() == list(units())
    assert "ExecStart=/opt/gpumedic/bin/gpumedic node" in printed("unit", "node")
    assert printed("unit", "gpumedic-helper.socket").startswith("# Where the node service asks")
    missing = CliRunner().invoke(app, ["export", "unit", "nod"])
    assert "There is no unit 'nod'. There are gpumedic-controller.service" in str(missing.exception)
