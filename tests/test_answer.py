"""A diagnosis in a few words: the line of the log, a message's title, a metric's label."""

from dataclasses import replace

import pytest

from agent.answer import class_of, in_short, name_of
from core.types import Diagnosis
from tests.diagnoses import ANSWERS, unknown


@pytest.mark.parametrize(
    ("name", "text", "fault", "kind"),
    [
        ("named", "node-13: cooling degraded (p = 0.93)", "cooling_degraded", "thermal"),
        ("uncertain", "node-13: cooling degraded (p = 0.45)", "cooling_degraded", "thermal"),
        (
            "several",
            "2 independent causes: node-13: cooling degraded (p = 0.50), shared volume /data: "
            "storage slow (p = 0.46)",
            "cooling_degraded",
            "thermal",
        ),
        (
            "unknown",
            "Cause not known (p = 0.72), likeliest node-13: cooling degraded (p = 0.21)",
            "unknown",
            "unknown",
        ),
        (
            "no_fault",
            "No fault (p = 0.91): the job does something else now",
            "no_fault",
            "no_fault",
        ),
    ],
)
def test_an_answer_in_short_names_what_outweighs(
    name: str, text: str, fault: str, kind: str
) -> None:
    found = ANSWERS[name]()

    assert (in_short(found), name_of(found), class_of(found)) == (text, fault, kind)


def test_no_cause_at_all_is_said_as_such() -> None:
    nothing: Diagnosis = replace(unknown(), causes=(), unknown=1.0, no_fault=0.0)

    assert in_short(nothing) == "No cause found with what is measured"
