import numpy as np
import pytest

from core.errors import InputError
from core.situation import Remedy
from core.target import Target
from core.types import Cause, Diagnosis
from rca.faults.catalogue import FAULTS
from remediation.deciding.remedies import known, mixed, of_cause, read_remedies, remedies, table
from sim.catalogue import CAUSES, CLASSES
from sim.engine.words import Scope

GOOD = '[sources]\nmine = "mine"\n[fault.x]\n'
NODE = Target(node="node-0")


def test_every_fault_of_the_catalogue_has_remedies_and_no_other() -> None:
    assert set(known()) == set(FAULTS)


def test_the_simulators_causes_have_theirs_in_its_order() -> None:
    rows = table(CAUSES)
    named = [name not in {"unknown", "none"} for name in CAUSES]
    np.testing.assert_allclose(rows.sum(axis=1), named)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_what_no_restart_or_reboot_ends_in_the_simulator_is_not_left_to_one(name: str) -> None:
    """The two catalogues are written apart; they must not contradict each other."""
    fault = CLASSES[name]
    if fault.cause in {"unknown", "none"}:
        return
    row = remedies(fault.cause)
    alone = bool(fault.parameters["lasts_alone"].value)
    mends = max(fault.parameters[key].value for key in ("restart_mends", "reboot_mends"))
    if fault.scope in (Scope.GPU, Scope.NODE) and mends == 0.0 and not alone:
        assert row[Remedy.REPLACE] >= 0.25


def test_hardware_that_a_reset_ends_is_told_from_hardware_that_it_does_not() -> None:
    assert remedies("driver_hang")[Remedy.REBOOT] > 0.9
    assert remedies("gpu_heat_contact")[Remedy.REPLACE] > 0.9
    assert remedies("software_error")[Remedy.RESTART] > 0.5


def test_a_diagnosis_that_knows_whether_it_stays_overrides_the_table() -> None:
    row = of_cause(Cause(NODE, "network_error", 1.0, persistent=0.9))
    assert row.sum() == pytest.approx(1.0)
    assert row[Remedy.RESTART] + row[Remedy.TIME] == pytest.approx(0.1)
    assert row[Remedy.RESTART] == pytest.approx(7 * row[Remedy.TIME])
    assert row[Remedy.REBOOT] == pytest.approx(row[Remedy.REPLACE])


@pytest.mark.parametrize("persistent", [0.0, 0.5, 1.0])
def test_what_has_nothing_to_share_stays_as_it_is(persistent: float) -> None:
    lost = of_cause(Cause(NODE, "gpu_fallen_off_bus", 1.0, persistent=persistent))
    np.testing.assert_array_equal(lost, remedies("gpu_fallen_off_bus"))


def test_remedies_of_a_diagnosis_sum_to_what_is_put_down_to_named_causes() -> None:
    causes = (
        Cause(NODE, "gpu_hang", 0.5),
        Cause(NODE, "software_error", 0.2),
    )
    row = mixed(Diagnosis("i", 0.0, causes, unknown=0.2, method="m", no_fault=0.1))
    assert row.sum() == pytest.approx(0.7)
    expected = 0.5 * remedies("gpu_hang") + 0.2 * remedies("software_error")
    np.testing.assert_allclose(row, expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fault", "no TOML"),
        (GOOD + 'reset = 1.0\nsource = "mine"', "no remedy 'reset'"),
        (GOOD + 'reboot = 1.5\nsource = "mine"', "from 0 to 1"),
        (GOOD + 'reboot = true\nsource = "mine"', "from 0 to 1"),
        (GOOD + 'reboot = "all"\nsource = "mine"', "from 0 to 1"),
        (GOOD + 'reboot = nan\nsource = "mine"', "from 0 to 1"),
        (GOOD + 'reboot = 0.5\nsource = "mine"', "sum to 0.5"),
        (GOOD + "reboot = 1.0", "does not have"),
        (GOOD + 'reboot = 1.0\nsource = "other"', "does not have; it has mine"),
    ],
)
def test_remedies_that_cannot_be_right_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_remedies(text)


def test_a_fault_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="'gpu_on_fire'"):
        remedies("gpu_on_fire")
