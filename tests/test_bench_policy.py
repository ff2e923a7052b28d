"""The bench of policies measures a file on real lives and holds numpy against torch."""

from pathlib import Path

import pytest

from agent.bench.policy import policy_rows
from core.errors import InputError
from remediation.learning.train import TrainSettings, train


def test_each_part_of_a_policy_is_measured(tmp_path: Path) -> None:
    settings = TrainSettings(
        steps=256, lanes=4, rollout=64, batch=128, layers=(16, 16), labelled=0, checked=1
    )
    train(settings, tmp_path / "p.npz")

    rows = {
        row.metric: row
        for row in policy_rows(quick=True, policy=tmp_path / "p.npz", compared=200, twin=2)
    }
    assert set(rows) == {
        "decision_us_rl",
        "numpy_torch_mismatches",
        "decision_ms_twin",
        "rl_decisions_per_cpu_s",
    }
    assert rows["numpy_torch_mismatches"].value == 0
    assert rows["numpy_torch_mismatches"].n >= 200
    assert all(row.value is not None and row.value >= 0 for row in rows.values())


def test_a_policy_that_is_not_there_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reading policy"):
        policy_rows(policy=tmp_path / "none.npz")
