"""The whole loop on a real training: broken, seen, diagnosed, healed, verified; no step differs."""

from pathlib import Path

import pytest

from agent.demo_real import SAME, RealDemo, cluster_of, demo_real, scratch
from agent.lab.torchrun import TorchrunTraining
from core.errors import InputError

pytest.importorskip("torch")
pytestmark = pytest.mark.timeout(600)
LIMIT_S = 300.0


async def broken(fault: str) -> RealDemo:
    """Break a training without standbys, which would be imported for nothing; nothing is left."""
    with scratch() as folder:
        at = Path(folder)
        training = TorchrunTraining(at, fault, standbys=0)
        result = await demo_real(training, fault, at=at, limit_s=LIMIT_S, tell=lambda _: None)
        assert [*training._processes()] == []
    return result


@pytest.mark.parametrize(
    ("fault", "cause", "done"),
    [
        ("kill-node", "node_silent on n2", "swap_node n2: succeeded"),
        ("hang", "job_hang on job training", "restart_in_place job training: succeeded"),
    ],
)
async def test_what_befalls_a_training_is_healed_and_verified_and_its_losses_are_as_ever(
    fault: str, cause: str, done: str
) -> None:
    found = await broken(fault)

    assert found.cause == cause
    assert [each.startswith(done) for each in found.done] == [True]
    kinds = [line.kind for line in found.journal]
    assert kinds.index("symptom") < kinds.index("plan.verifying") < kinds.index("plan.done")
    assert any(line.text.startswith("done: verified: no symptom for") for line in found.journal)
    assert {"incident.opened", "incident.diagnosed", "action.succeeded"} <= {*found.messages}
    assert found.difference <= SAME
    assert [step for step, _ in found.losses] == [step for step, _ in found.undisturbed]
    assert found.healed


def test_a_fault_that_there_is_not_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such fault; did you mean 'kill-node'\?"):
        cluster_of("torchrun", "kil-node", tmp_path)
