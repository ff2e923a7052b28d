"""An action reads as an operator writes it."""

from core.target import Target
from core.types import Action


def test_an_action_reads_with_its_parameters_and_no_long_fractions() -> None:
    params = (("prior_restarts", 0), ("prior_step_s", 2.8234567), ("spare", "node-9"))
    action = Action("key", "swap_node", Target(node="node-7"), params, 900.0, "")

    assert str(action) == "swap_node node-7 prior_restarts=0 prior_step_s=2.823 spare=node-9"
