"""A scenario's file says the same as its data, and all that is wrong in it, each with its place."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.codec import from_json, to_json
from core.errors import InputError
from core.target import Target
from sim.catalogue import CLASSES, PROFILES
from sim.checks import read_seconds, write_seconds
from sim.engine.words import Scope
from sim.library import scenario
from sim.scenario import (
    FaultSpec,
    JobSpec,
    Machines,
    Scenario,
    ServiceSpec,
    Site,
    Workload,
    node_name,
)
from sim.scenario_file import ScenarioRefused, load, overridden, parse_scenario, to_toml

CLUSTER = "[cluster]\nnodes = 16\nracks = 4\nspares = 2\n"
JOB = '[[job]]\nid = "a"\nnodes = 8\n'

seconds = st.floats(0, 1e7) | st.integers(0, 10**6).map(float)
shares = st.floats(0, 1)
texts = st.text(max_size=20)
services = st.builds(
    ServiceSpec,
    rate=seconds,
    replicas=st.integers(1, 99),
    gpus_each=st.integers(1, 8),
    daily=shares,
    burst=seconds,
    warm_s=seconds,
    batch=st.floats(1, 99),
    batch_s=seconds,
    batch_more_s=seconds,
    objective_s=st.floats(1e-3, 99),
    canary=shares,
)
jobs = st.builds(
    JobSpec,
    id=st.sampled_from("abc"),
    nodes=st.integers(1, 4),
    compute_s=st.floats(1e-6, 99),
    data_wait_s=seconds,
    collective_s=seconds,
    checkpoint_interval_s=st.floats(100, 1e6),
    checkpoint_save_s=st.floats(0, 99),
    priority=st.integers(-9, 9),
    kind=st.sampled_from(["training", "elastic", "pipeline", "interactive"]),
    most_nodes=st.none() | st.integers(4, 9),
    unit=st.none() | st.integers(1, 8),
    submit_s=st.none() | seconds,
    work_steps=st.just(math.inf) | st.floats(1, 1e9),
    model=texts,
    cache=shares,
    bytes_per_step=seconds,
) | st.builds(
    JobSpec, id=st.sampled_from("de"), nodes=st.just(1), kind=st.just("service"), service=services
)
machines = st.builds(
    Machines,
    gpus_per_node=st.integers(1, 8),
    mixed=st.lists(st.tuples(texts, st.integers(0, 4)), max_size=2).map(tuple),
    leaves=st.none() | st.integers(1, 9),
    nic_bytes_per_s=st.floats(1, 1e12),
    frailty=st.none() | seconds,
    lemons=st.none() | shares,
)
sites = st.builds(
    Site,
    requeue=st.booleans(),
    requeue_s=seconds,
    drain=st.booleans(),
    check_s=seconds,
    backfill=st.integers(0, 99),
    preempt_after_s=st.just(math.inf) | seconds,
    restart_s_per_gpu=seconds,
    blame=shares,
)
workloads = st.builds(Workload, jobs_per_day=seconds, mix=texts, daily=shares) | st.builds(
    Workload, trace=texts, trace_format=texts
)


@st.composite
def faults(draw: st.DrawFn) -> FaultSpec:
    name = draw(st.sampled_from(sorted(CLASSES)))
    node = node_name(draw(st.integers(0, 31)), 32)
    by_scope = {
        Scope.GPU: Target(node=node, gpu=draw(st.sampled_from(["", "0"]))),
        Scope.LEAF: Target(switch="leaf-0"),
        Scope.RACK: Target(rack="rack-0"),
        Scope.JOB: Target(job="first"),
        Scope.STORAGE: Target(),
        Scope.FLEET: Target(),
    }
    return FaultSpec(
        name,
        by_scope.get(CLASSES[name].scope, Target(node=node)),
        onset_s=draw(st.floats(-1e6, 1e6)),
        lasts_s=draw(st.just(math.inf) | st.floats(1e-3, 1e6)),
        severity=draw(st.floats(0.1, 3)),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    others = draw(st.lists(jobs, max_size=3, unique_by=lambda job: job.id))
    return Scenario(
        name=draw(texts),
        nodes=32,
        racks=draw(st.integers(1, 32)),
        spares=draw(st.integers(0, 2)),
        jobs=(JobSpec("first", nodes=1), *others),
        faults=tuple(draw(st.lists(faults(), max_size=3))),
        rates=tuple(draw(st.dictionaries(st.sampled_from(sorted(CLASSES)), seconds)).items()),
        start_s=float(draw(st.integers(0, 2_000_000_000))),
        history_s=draw(seconds),
        text=draw(texts),
        machines=draw(machines),
        site=draw(sites),
        workload=draw(st.none() | workloads),
        telemetry=draw(st.sampled_from(["full", "surrogate", "none"])),
        duration_s=draw(st.floats(1, 1e7)),
        seeds=tuple(draw(st.lists(st.integers(0, 99), min_size=1, max_size=3))),
        policy=draw(texts),
        best=draw(texts),
        tags=tuple(draw(st.lists(texts, max_size=2))),
        profile=draw(st.sampled_from(sorted(PROFILES))),
        rate_scale=draw(st.floats(0, 99)),
    )


@settings(max_examples=150, deadline=None)
@given(scenarios())
def test_a_scenario_that_is_written_and_read_is_the_very_same(made: Scenario) -> None:
    assert parse_scenario(to_toml(made), name="other") == made
    assert overridden(made, {}) == made
    assert from_json(Scenario, to_json(made)) == made


@given(st.floats(-1e12, 1e12))
def test_a_time_that_is_written_and_read_is_the_very_same(seconds_s: float) -> None:
    assert read_seconds(write_seconds(seconds_s)) == seconds_s


def test_a_file_says_what_the_data_says() -> None:
    read = parse_scenario(
        'text = "one sentence"\ntags = ["a"]\nbest = "wait"\n'
        "[cluster]\nnodes = 4\nracks = 2\nspares = 1\nhistory = '0s'\nleaves = 1\n"
        "start = 2026-03-01T08:00:00Z\n"
        'mixed = [{ gpu = "a100", nodes = 2 }]\n'
        "[site]\nrequeue = true\nrequeue_after = '5m'\n"
        "[workload]\njobs_per_day = 10\n"
        '[faults]\nprofile = "rsc1"\nscale = 2\nper_day = { storage_slow = 0.5 }\n'
        '[run]\nduration = "2h"\nseeds = [1, 2]\ntelemetry = "none"\n[policy]\nname = "none"\n'
        '[[job]]\nid = "chat"\nnodes = 1\nkind = "service"\n'
        "[job.service]\nrate = 9.5\nreplicas = 8\nbatch_time = '400ms'\n"
        '[[fault]]\nfault = "gpu_fallen_off_bus"\nnode = 2\ngpu = 7\nonset = "-1h30m"\n'
        '[[fault]]\nfault = "leaf_switch"\nswitch = "leaf-0"\nonset = "4m"\nlasts = "1h"\n',
        name="x",
    )

    assert (read.name, read.text, read.tags, read.best) == ("x", "one sentence", ("a",), "wait")
    assert read.machines == Machines(leaves=1, mixed=(("a100", 2),))
    assert (read.start_s, read.history_s) == (1_772_352_000.0, 0.0)
    assert read.site == Site(requeue=True, requeue_s=300.0)
    assert read.workload == Workload(jobs_per_day=10.0)
    assert (read.profile, read.rate_scale, read.rates) == ("rsc1", 2.0, (("storage_slow", 0.5),))
    assert (read.duration_s, read.seeds, read.telemetry) == (7200.0, (1, 2), "none")
    assert read.jobs[0].service == ServiceSpec(rate=9.5, replicas=8, batch_s=0.4)
    assert read.faults[0].target == Target(node="node-02", gpu="7")
    assert read.faults[0].onset_s == -5400.0
    assert read.faults[1].lasts_s == 3600.0


def test_all_that_is_wrong_in_a_file_is_said_at_once_each_with_its_line() -> None:
    text = (
        "[cluster]\nnodes = 4\nrack = 3\n"
        '[[job]]\nid = "a"\nnodes = 9\ncompute = 4\n'
        '[[fault]]\nfault = "gpu_fall"\nnode = 3\nonset = "4m"\n'
        "[faults]\nper_day = { storage_slwo = 1 }\n"
    )

    with pytest.raises(ScenarioRefused) as caught:
        parse_scenario(text, name="bad", path="bad.toml")

    said = "\n".join(caught.value.problems)
    assert "bad.toml:3: there is no key cluster.rack; did you mean 'racks'?" in said
    assert "bad.toml:1: cluster.racks is missing" in said
    assert "bad.toml:7: job.0.compute: 4 is no time; write a number and a unit" in said
    assert "bad.toml:9: " in said or "bad.toml:8: no fault 'gpu_fall'" in said
    assert "did you mean 'storage_slow'?" in said
    assert len(caught.value.problems) >= 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x =", "not TOML"),
        ("x = " + "[" * 3000, "nested too deep"),
        ("cluster = 3", "write it as a table"),
        (f"{CLUSTER}[jobs]\n", "did you mean 'job'?"),
        (f"job = [1]\n{CLUSTER}", "each as a table, [[job]]"),
        (f"{CLUSTER}[job]\n", "each as a table, [[job]]"),
        (f'{CLUSTER}[[job]]\nid = "a"\nnodes = 99\n', "need 99 nodes beside 2 spares"),
        (f'{CLUSTER}[[job]]\nid = "a"\n', "job.0.nodes is missing"),
        (f"{CLUSTER}{JOB}least_nodes = 9\n", "must lie between its bounds"),
        (f"{CLUSTER}{JOB}gpus = 4\n", "only for less than a node"),
        (f'{CLUSTER}{JOB}kind = "servce"\n', "did you mean 'service'?"),
        (f'{CLUSTER}{JOB}kind = "service"\n', "its rate and replicas"),
        (f"{CLUSTER}{JOB}cache = 2\n", "between 0 and 1"),
        (f"{CLUSTER}{JOB}[job.service]\nrate = 1\n", "job.0.service.replicas is missing"),
        (f"{CLUSTER}{JOB}nodes_least = 2\n", "did you mean"),
        (f"{CLUSTER}[site]\nrequeue = 1\n", "not true or false"),
        (f"{CLUSTER}[site]\nblame = 1.5\n", "between 0 and 1"),
        (f'{CLUSTER}[site]\nreboot_shortest = "1h"\n', "must not be the longer"),
        (f"{CLUSTER}[workload]\njobs_per_day = -1\n", "0 or more"),
        (f'{CLUSTER}[workload]\njobs_per_day = 1\ntrace = "x.csv"\n', "not both"),
        (f'{CLUSTER}[faults]\nprofile = "lama3"\n', "did you mean 'llama3'?"),
        (f"{CLUSTER}[faults.per_day]\ngpu_hang = -1\n", "must be 0 or more"),
        (f"{CLUSTER}[faults]\nscale = -1\n", "rate scale not below 0"),
        (f'{CLUSTER}[run]\ntelemetry = "ful"\n', "did you mean 'full'?"),
        (f"{CLUSTER}[run]\nseeds = 3\n", "a list in [brackets]"),
        (f"tags = [1]\n{CLUSTER}", "a list in [brackets]"),
        (f"{CLUSTER}start = 3\n", "a moment such as"),
        (f"{CLUSTER}gpus_per_node = 16\n", "1 to 8"),
        (f"{CLUSTER}nics = 0\n", "above 0"),
        (f'{CLUSTER}mixed = [{{ gpu = "a100", nodes = 99 }}]\n', "GPUs of another type"),
    ],
)
def test_a_file_that_cannot_be_says_why(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_scenario(text, name="bad")

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ('fault = "gpu_hang"', "needs a node"),
        ('fault = "gpu_hang"\nnode = 99', "node-00 to node-15"),
        ('fault = "gpu_hang"\nnode = 3\ngpu = 9', "0 to 7"),
        ('fault = "leaf_switch"', "a switch, or a node below it"),
        ('fault = "leaf_switch"\nswitch = "leaf-4"', "its last switch is leaf-3"),
        ('fault = "planned_maintenance"\nrack = "rack-9"', "rack-3"),
        ('fault = "rack_power"', "a node of the domain"),
        ('fault = "silent_hang"', "needs a job"),
        ('fault = "silent_hang"\njob = "b"', "there are a"),
        ('fault = "storage_slow"\nnode = 3', "the whole cluster's"),
        ('fault = "gpu_hang"\nnode = 3\nnoed = 4', "did you mean 'node'?"),
        ('fault = "gpu_hang"\nnode = 1.5', "is not a name"),
        ('fault = "cooling_degraded"\nnode = 3\nseverity = 4.0', "at most 3"),
    ],
)
def test_a_fault_that_strikes_nothing_says_what_it_needs(fault: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_scenario(f'{CLUSTER}{JOB}[[fault]]\n{fault}\nonset = "4m"\n', name="bad")

    assert said in str(caught.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"text = '\xe9'")

    with pytest.raises(InputError, match="not UTF-8"):
        load(tmp_path / "latin.toml")
    with pytest.raises(InputError, match="No such file"):
        load(tmp_path / "none.toml")


def test_keys_are_set_as_text_by_section_and_by_a_jobs_id() -> None:
    changed = overridden(
        scenario("demo"),
        {
            "cluster.nodes": "2048",
            "site.requeue": "true",
            "faults.scale": "2",
            "faults.per_day.gpu_hang": "0.5",
            "job.llm-70b.nodes": "100",
            "job.llm-8b.checkpoint_interval": "5m",
            "fault.1.onset": "1h",
            "run.telemetry": "none",
        },
    )

    assert changed.nodes == 2048
    assert changed.site.requeue
    assert (changed.rate_scale, changed.rates) == (2.0, (("gpu_hang", 0.5),))
    assert [job.nodes for job in changed.jobs] == [100, 4, 2]
    assert changed.jobs[1].checkpoint_interval_s == 300
    # A node is called after its number with as many digits as the cluster needs.
    assert changed.faults[1] == replace(
        scenario("demo").faults[1], target=Target(node="node-0003", gpu="5"), onset_s=3600.0
    )
    assert changed.telemetry == "none"


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("cluster.nodez", "64", "--set cluster.nodez=64: there is no key cluster.nodez"),
        ("cluster.nodes", "many", "not a whole number"),
        ("cluster.nodes", "4", "need 14 nodes beside 2 spares"),
        ("job.llm-7b.nodes", "4", "did you mean 'llm-70b'"),
        ("fault.9.onset", "1h", "there are 3 of them"),
        ("fault.x.onset", "1h", "count from 0"),
        ("run.duration", "20", "is no time"),
        ("faults.profile", "rsc", "did you mean"),
        ("text.long", "a", "has no keys"),
    ],
)
def test_a_key_that_cannot_be_set_says_why(key: str, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        overridden(replace(scenario("demo"), text="t"), {key: text})

    assert said in str(caught.value)


def test_names_of_nodes_are_equally_long() -> None:
    assert node_name(3, 16) == "node-03"
    assert {len(node_name(index, 2048)) for index in (0, 99, 2047)} == {9}
