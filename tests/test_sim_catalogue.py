"""The fault catalogue is data with sources: its rates give what was published; slips are said."""

import math
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from rca.faults.catalogue import FAULTS
from sim import catalogue
from sim.catalogue import CAUSES, CLASSES, PROFILES, SOURCES, class_table, drawn, fault_class
from sim.catalogue_file import CONFIDENCES, PARAMETERS, read_classes, read_profiles
from sim.engine.rows_faults import FAULT_CLASS
from sim.engine.words import NONE, Effect, Scope

NODES = 2048
# GPUs, nodes, leaves, racks, power, cooling, storage, jobs, fleet
UNITS = (8 * NODES, NODES, 128, 128, 64, 32, 1, 1, 1)
DATA = Path(catalogue.__file__).parent / "data"


def a_day(rates_of: str, *, scale: float = 1.0) -> float:
    """How many faults a day come on 2,048 nodes, those that follow others included."""
    table = class_table(drawn(rates_of), units=UNITS, rates_of=rates_of, scale=scale)
    first = table["rate"] * np.array(UNITS)[table["scope"]]
    return float(
        sum(rate * catalogue.followers(row) for rate, row in zip(first, table, strict=True))
    )


def test_every_parameter_of_every_class_has_its_source_and_its_confidence() -> None:
    for fault in CLASSES.values():
        assert set(fault.parameters) == set(PARAMETERS), fault.name
        for parameter in fault.parameters.values():
            assert parameter.source in SOURCES.values()
            assert parameter.confidence in CONFIDENCES


def test_parameters_and_the_table_say_the_same_things() -> None:
    stems = {name.removesuffix("_s") for name in PARAMETERS}
    for column in FAULT_CLASS.names or ():
        stem = column.removesuffix("_s")
        for end in ("_lo", "_hi", "_mu", "_sigma"):
            stem = stem.removesuffix(end)
        assert stem in stems | {"scope", "effect", "rate", "cause"}, column


def test_a_diagnosis_can_name_the_cause_of_every_class_or_the_catalogue_says_it_cannot() -> None:
    assert set(CAUSES) <= {*FAULTS, "unknown", "none"}
    assert len(CLASSES) >= 30
    assert {fault.effect for fault in CLASSES.values()} == set(Effect)
    assert {fault.scope for fault in CLASSES.values()} == set(Scope)


def test_llama_3s_rows_are_its_419_unexpected_and_47_planned_interruptions() -> None:
    rows = PROFILES["llama3"].rows

    assert sum(row.count for row in rows if not row.planned) == 419
    assert sum(row.count for row in rows if row.planned) == 47
    assert a_day("llama3") * 54 == pytest.approx(419 + 47, rel=1e-6)
    assert PROFILES["llama3"].unexpected == pytest.approx(3.789, abs=0.001)


@pytest.mark.parametrize(
    ("name", "per_1000_node_days"),
    [("rsc1", 6.50), ("rsc2", 2.34), ("infinitehbd", 4.18), ("fthsdp", 2.30), ("acme", 2.61)],
)
def test_a_profile_gives_its_published_rate_however_its_faults_follow_each_other(
    name: str, per_1000_node_days: float
) -> None:
    assert PROFILES[name].unexpected == pytest.approx(per_1000_node_days, abs=0.01)
    assert a_day(name) / NODES * 1000 == pytest.approx(per_1000_node_days, abs=0.01)


def test_infinitehbds_faults_come_again_and_in_company_so_that_fewer_are_drawn() -> None:
    (row,) = class_table(["gpu_hang"], units=UNITS, rates_of="infinitehbd")

    published = PROFILES["infinitehbd"].rates["gpu_hang"] / 1000 / 8
    assert row["relapses"] == pytest.approx(0.31)
    assert row["rate"] == pytest.approx(published * (1 - 0.31) / (1 + 0.14 * 1.5), rel=1e-5)
    assert row["lasts_mu"] == pytest.approx(math.log(22 * 3600), abs=0.01)


def test_a_rate_of_ones_own_counts_nodes_for_machines_and_domains_for_domains() -> None:
    rates = (("gpu_row_remap", 0.8), ("storage_slow", 0.5), ("rack_power", 0.1))
    table = class_table([name for name, _ in rates], units=UNITS, rates=rates)

    # 5.6 % of remapped rows are repeats: those are not drawn.
    assert table["rate"] == pytest.approx([0.1 * (1 - 0.056), 0.5, 0.1])


def test_words_of_the_data_are_the_engines() -> None:
    gpu, flap = class_table(["gpu_fallen_off_bus", "port_flap"])

    assert (gpu["code"], gpu["hangs"], gpu["warn_effect"]) == (79, True, NONE)
    assert (gpu["crash_lo_s"], gpu["crash_hi_s"]) == (10, 60)
    assert flap["effect"] == Effect.LINK_FLAP
    assert CAUSES[gpu["cause"]] == "gpu_fallen_off_bus"


def test_what_assumptions_stand_beside_published_figures_can_be_read_off() -> None:
    sources = fault_class("gpu_fallen_off_bus").sources

    assert any("HPCA 2025" in source for source in sources)
    assert not any("chosen" in source for source in sources)


def test_a_fault_or_profile_that_there_is_not_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'gpu_hang'"):
        fault_class("gpu_hangs")
    with pytest.raises(InputError, match="did you mean 'llama3'"):
        class_table([], rates_of="lama3")


FAULTS_TEXT = (DATA / "faults.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('effect = "gpu_lost"', 'effect = "gpu_lots"', "did you mean 'gpu_lost'?"),
        ('scope = "gpu"', 'scope = "gpus"', "did you mean 'gpu'?"),
        ("and_pcie = { value = 0.43", "and_pcie = { value = 1.43", "between 0 and 1"),
        ("and_pcie = { value = 0.43", "and_pcei = { value = 0.43", "did you mean 'and_pcie'?"),
        ("crash_s = { value = [10, 60]", "crash_s = { value = [60, 10]", "[lowest, highest]"),
        ('lasts = { value = ["16.8h", 2.1]', 'lasts = { value = ["16.8h"]', "a median and"),
        ('lasts = { value = ["16.8h", 2.1]', "lasts = { value = [60, 2.1]", "no time"),
        ("hangs = { value = true", "hangs = { value = 1", "true or false"),
        ('source = "rsc"', 'source = "rcs"', "did you mean 'rsc'?"),
        ('confidence = "reported"', 'confidence = "sure"', "measured, reported"),
        ("code = { value = 79", "code = { value = -1", "not below 0"),
        ('said = { value = "xid"', 'said = { value = "xdi"', "did you mean 'xid'?"),
        ('text = "a GPU falls off the bus"', 'text = ""', "write it as a text"),
        ("ramp_s = { value = 0,", "rmp_s = { value = 0,", "did you mean 'ramp_s'?"),
        (', confidence = "reported" }', " }", "exactly a value, a source and a confidence"),
    ],
)
def test_a_slip_in_the_catalogues_data_is_said_with_its_place(
    old: str, new: str, said: str
) -> None:
    assert old in FAULTS_TEXT

    with pytest.raises(InputError) as caught:
        read_classes(FAULTS_TEXT.replace(old, new, 1))

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{ name = "a", rate = -1.0, classes = { gpu_hang = 1.0 } }', "not below 0"),
        ('{ name = "a", rate = 1.0, classes = { gpu_hnag = 1.0 } }', "did you mean 'gpu_hang'?"),
        ('{ name = "a", rate = 1.0, classes = { gpu_hang = 0.9 } }', "sum to 1"),
        ('{ name = "a", count = 1, classes = { gpu_hang = 1.0 } }', "over = { nodes, days }"),
        ('{ name = "a", rat = 1.0, classes = { gpu_hang = 1.0 } }', "did you mean 'rate'?"),
    ],
)
def test_a_slip_in_a_rate_profile_is_said_with_its_place(row: str, said: str) -> None:
    text = f'[profile.new]\ntext = "t"\nsource = "s"\nconfidence = "assumed"\nrow = [{row}]\n'

    with pytest.raises(InputError) as caught:
        read_profiles(text, CLASSES, SOURCES)

    assert said in str(caught.value)
    assert "profile new" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('like = "lama3"\ntotal = 1.0', "a profile above it"),
        ("lemons = 2.0", "share of lemons"),
        ("frailty = -1.0", "not below 0"),
        ('confidence = "sure"', "measured, reported"),
    ],
)
def test_a_profile_that_cannot_be_says_why(line: str, said: str) -> None:
    head = '[profile.new]\ntext = "t"\nsource = "s"\n'
    sure = "" if "confidence" in line else 'confidence = "assumed"\n'

    with pytest.raises(InputError) as caught:
        read_profiles(f"{head}{sure}{line}\n", CLASSES, SOURCES)

    assert said in str(caught.value)
