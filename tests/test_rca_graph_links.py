"""The known links are data that is read strictly; users' and learned ones join them on terms."""

import re
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Settings
from agent.config.own_links import as_settings, known_and_own
from agent.config.settings import CausalLink, Diagnose
from agent.tuning import watch_settings
from core.errors import InputError
from core.target import Target
from core.topology import Topology
from core.units import CATALOG
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.links import ALL_LINKS, METRICS, TEMPLATES, joins_of, read_links, with_links
from rca.graph.templates import (
    LEARNED_STRENGTH,
    UNMEASURED_HOP,
    Join,
    Provenance,
    Template,
    compose,
    order,
    templates_over,
)

TEXT = files("rca.graph").joinpath("links.toml").read_text(encoding="utf-8")
OWN = Template("node_open_files_ratio", "rank_data_wait_s", Join.NODE, provenance=Provenance.USER)
# The chains that a diagnosis must know, from the cause on.
CHAINS = (
    "node_inlet_temperature_celsius gpu_temperature_celsius gpu_throttle_ratio gpu_sm_clock_hz "
    "rank_step_time_s job_step_time_s",
    "gpu_power_watts gpu_temperature_celsius gpu_memory_temperature_celsius gpu_throttle_ratio",
    "port_link_down_total port_up rank_collective_time_s job_step_time_s job_steps_total",
    "port_errors_total rank_collective_time_s",
    "gpu_nvlink_errors_total rank_collective_time_s",
    "volume_read_latency_s rank_data_wait_s job_step_time_s",
    "node_cpu_used_ratio node_pressure_cpu_ratio rank_data_wait_s",
    "node_memory_used_ratio node_swap_used_ratio node_pressure_memory_ratio rank_data_wait_s",
    "gpu_ecc_corrected_total gpu_ecc_uncorrected_total gpu_rows_remap_pending gpu_xid_code "
    "job_steps_total job_goodput_ratio",
    "volume_written_bytes_total volume_write_latency_s job_checkpoint_age_s",
    "job_requests_total job_queue_depth job_latency_p99_s job_replicas",
    "job_grad_norm job_loss job_nan_steps_total job_goodput_ratio",
)


def pairs(graph: CausalGraph) -> set[tuple[Target, Target]]:
    return {
        (graph.target(c), graph.target(e))
        for c, e in zip(graph.cause.tolist(), graph.effect.tolist(), strict=True)
    }


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.split()[0])
def test_a_known_chain_of_mechanisms_is_in_the_links(chain: str) -> None:
    names = chain.split()

    known = {(link.cause, link.effect) for link in ALL_LINKS}
    assert [pair for pair in pairwise(names) if pair not in known] == []


def test_every_metric_of_the_catalogue_is_in_the_graph() -> None:
    assert set(CATALOG) == METRICS


def test_every_link_has_a_mechanism_a_source_and_a_window_of_lags() -> None:
    assert all(link.why and link.source for link in ALL_LINKS)
    assert all(0 <= link.lag_least_s <= link.lag_s for link in ALL_LINKS)
    assert {link.effect for link in ALL_LINKS if link.barrier} == {"job_step_time_s"}


def test_ways_back_are_known_and_no_part_of_the_graph() -> None:
    back = [link for link in ALL_LINKS if link.feedback]

    forward = {(link.cause, link.effect) for link in templates_over(ALL_LINKS, METRICS)}
    assert back
    assert not forward & {(link.cause, link.effect) for link in back}


LINK = """
[sources]
s = "a book"
[[link]]
cause = "node_up"
effect = "port_up"
join = "node"
sign = 1
lag_s = [0, 15]
why = "because"
source = "s"
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"node_up"', '"node_upp"', "the cause 'node_upp' is unknown; the nearest is node_up"),
        ('"port_up"', '"job_loss"', "the join 'node' is unknown; the nearest is node-job"),
        ("sign = 1", "sign = 0", "sign is 0; write 1 (they move together) or -1"),
        ("sign = 1", "sign = true", "sign is True; write 1"),
        ("[0, 15]", "[15, 0]", "lag_s is [15, 0]; write [least, most] seconds"),
        ("[0, 15]", "15", "lag_s is 15; write [least, most] seconds"),
        ("[0, 15]", "[0, inf]", "write [least, most] seconds, 0 or more"),
        ('"because"', '""', "why is ''; write it as a text"),
        ('source = "s"', 'source = "t"', "the source 't' is unknown; the nearest is s"),
        ("sign = 1", "sign = 1\nstrength = 2", "strength is 2; write a number above 0 and at mo"),
        ("sign = 1", "sign = 1\nbarrier = 1", "barrier is 1; write true or false"),
        ("sign = 1", "sign = 1\nlag = 3", "the key 'lag' is unknown; the nearest is lag_s"),
        ("[[link]]", "[[links]]", "the section 'links' is unknown; the nearest is link"),
        ("[[link]]", "[link", "it is no TOML"),
    ],
)
def test_a_wrong_line_of_the_data_is_refused_in_words(old: str, new: str, said: str) -> None:
    assert len(read_links(LINK, "test")) == 1
    with pytest.raises(InputError, match=re.escape(said)):
        read_links(LINK.replace(old, new, 1), "test")


def test_a_link_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InputError, match="is there twice; keep one"):
        read_links(LINK + LINK.partition('"a book"')[2], "test")


@given(st.sets(st.sampled_from(sorted(METRICS))), st.booleans())
def test_no_choice_of_metrics_makes_a_cycle(present: set[str], own: bool) -> None:
    links = with_links(TEMPLATES, [OWN]) if own else TEMPLATES
    found = templates_over(links, frozenset(present))

    ranked = {name: place for place, name in enumerate(order(tuple(present), found))}
    assert all(ranked[link.cause] < ranked[link.effect] for link in found)
    assert all({link.cause, link.effect} <= present for link in found)


@given(st.sets(st.sampled_from(sorted(METRICS))))
def test_a_bridge_adds_lags_multiplies_signs_and_gets_weaker(present: set[str]) -> None:
    signs = {(link.cause, link.effect): link.sign for link in TEMPLATES}
    lags = {(link.cause, link.effect): link.lag_s for link in TEMPLATES}
    for link in templates_over(TEMPLATES, frozenset(present)):
        path = (link.cause, *link.over, link.effect)
        hops = list(pairwise(path))
        assert link.sign == np.prod([signs[hop] for hop in hops])
        assert link.lag_s == sum(lags[hop] for hop in hops)
        assert link.strength <= UNMEASURED_HOP ** len(link.over) * (1 + 1e-9)
        assert not set(link.over) & present
        assert (link.provenance is Provenance.BRIDGED) == bool(link.over)


def test_a_bridge_over_a_learned_link_stays_learned() -> None:
    learned = replace(OWN, provenance=Provenance.LEARNED, strength=LEARNED_STRENGTH)
    links = with_links(TEMPLATES, [learned])

    found = templates_over(links, METRICS - {"rank_data_wait_s"})
    (bridge,) = [link for link in found if link.cause == OWN.cause and link.over]
    assert bridge.provenance is Provenance.LEARNED
    assert bridge.strength <= LEARNED_STRENGTH * UNMEASURED_HOP


def test_no_bridge_leads_from_a_machine_over_a_job_to_its_other_machines() -> None:
    assert compose(Join.GPU_JOB, Join.JOB_GPU) is None
    assert compose(Join.NODE_JOB, Join.JOB_NODE) is None
    assert compose(Join.GPU, Join.JOB) is Join.GPU_JOB
    assert compose(Join.JOB, Join.JOB_NODE) is Join.JOB_NODE


@pytest.mark.parametrize(
    ("cause", "first", "middle", "then", "effect"),
    [
        ("node_up", Join.NODE, "gpu_xid_code", Join.GPU_JOB, "job_loss"),
        ("node_up", Join.NODE, "gpu_xid_code", Join.GPU, "rank_step_time_s"),
        ("gpu_xid_code", Join.GPU, "rank_step_time_s", Join.JOB, "job_loss"),
        ("gpu_xid_code", Join.NODE, "port_up", Join.NODE_JOB, "job_loss"),
        ("port_up", Join.NODE, "rank_data_wait_s", Join.JOB, "job_loss"),
        ("port_up", Join.PORT, "port_errors_total", Join.SWITCH_JOB, "job_loss"),
        ("volume_readonly", Join.VOLUME, "volume_used_ratio", Join.NODE, "node_up"),
        ("gpu_xid_code", Join.GPU_JOB, "job_loss", Join.JOB, "job_steps_total"),
        ("job_loss", Join.JOB, "job_steps_total", Join.JOB_NODE, "port_up"),
        ("job_loss", Join.JOB_GPU, "gpu_xid_code", Join.GPU, "gpu_power_watts"),
        ("job_loss", Join.JOB_GPU, "gpu_xid_code", Join.NODE, "node_up"),
    ],
)
def test_what_two_links_in_a_row_tie_their_bridge_ties(
    cause: str, first: Join, middle: str, then: Join, effect: str
) -> None:
    join = compose(first, then)
    assert join in joins_of(cause, effect)
    ends = tied(cause, effect, join or first)
    ways = {
        (one, other)
        for one, here in tied(cause, middle, first)
        for there, other in tied(middle, effect, then)
        if here == there
    }

    assert ways
    assert ways <= ends


def tied(cause: str, effect: str, join: Join) -> set[tuple[Target, Target]]:
    series = {name: targets(name) for name in (cause, effect)}
    return pairs(build_graph(series, SITE, (Template(cause, effect, join),)))


# Four nodes of two GPUs under two leaves; a job on the first three GPUs, another on the fifth.
SITE = Topology(
    nodes=("n0", "n1", "n2", "n3"),
    racks=(),
    switches=("s0", "s1"),
    gpus=tuple(f"g{at}" for at in range(8)),
    jobs=("a", "b"),
    node_rack=np.full(4, -1),
    node_switch=np.array([0, 0, 1, 1]),
    gpu_node=np.repeat(np.arange(4), 2),
    rank_job=np.array([0, 0, 0, 1]),
    rank_gpu=np.array([0, 1, 2, 4]),
)


def targets(metric: str) -> tuple[Target, ...]:
    gpus = [Target(node=f"n{at // 2}", gpu=f"g{at}") for at in range(8)]
    nodes = [Target(node=f"n{at}") for at in range(4)]
    return {
        "gpu": tuple(gpus),
        "node": tuple(nodes),
        "port": tuple(Target(node=f"n{at}", port=p) for at in range(4) for p in ("p0", "p1")),
        "volume": tuple(Target(node=f"n{at}", volume="/v") for at in range(4)),
        "job": (Target(job="a"), Target(job="b")),
        "rank": tuple(
            Target(node=f"n{gpu // 2}", gpu=f"g{gpu}", job=job, rank=rank)
            for job, rank, gpu in (("a", "0", 0), ("a", "1", 1), ("a", "2", 2), ("b", "0", 4))
        ),
    }[CATALOG[metric].scope]


def tie(cause: str, effect: str, join: Join) -> set[tuple[str, str]]:
    return {(a.name, b.name) for a, b in tied(cause, effect, join)}


def test_an_xid_stops_the_job_on_its_gpu_and_no_other_on_the_node() -> None:
    found = tie("gpu_xid_code", "job_steps_total", Join.GPU_JOB)

    assert found == {("g0", "a"), ("g1", "a"), ("g2", "a"), ("g4", "b")}


def test_a_service_keeps_its_own_gpus_busy() -> None:
    found = tie("job_requests_total", "gpu_utilization_ratio", Join.JOB_GPU)

    assert found == {("a", "g0"), ("a", "g1"), ("a", "g2"), ("b", "g4")}


def test_a_port_answers_for_itself_and_not_for_its_nodes_other_ports() -> None:
    series = {name: targets(name) for name in ("port_link_down_total", "port_up")}

    found = pairs(build_graph(series, SITE))
    assert len(found) == 8
    assert all(cause == effect for cause, effect in found)


def test_what_backs_up_at_a_leaf_reaches_the_jobs_under_it_only() -> None:
    found = tie("port_errors_total", "job_step_time_s", Join.SWITCH_JOB)

    ports = {("n0", "a"), ("n1", "a"), ("n2", "b"), ("n3", "b")}
    assert len(found) == 4  # two port names, two jobs
    both = tied("port_errors_total", "job_step_time_s", Join.SWITCH_JOB)
    assert {(c.node, e.job) for c, e in both} == ports


def test_a_job_whose_gpus_nobody_names_has_all_of_its_nodes() -> None:
    series = {
        "gpu_xid_code": targets("gpu_xid_code"),
        "job_steps_total": (Target(job="c"),),
        "rank_step_time_s": (Target(node="n3", job="c", rank="0"),),
    }

    found = {(c.name, e.name) for c, e in pairs(build_graph(series, None)) if e.name == "c"}
    assert {cause for cause, _ in found if cause.startswith("g")} == {"g6", "g7"}


def test_a_users_link_is_added_replaces_or_takes_out() -> None:
    known = TEMPLATES[0]

    added = with_links(TEMPLATES, [OWN])
    replaced = with_links(TEMPLATES, [replace(known, strength=0.3)])
    out = with_links(TEMPLATES, [replace(known, strength=0.0)])

    assert set(added) - set(TEMPLATES) == {OWN}
    assert [link.strength for link in replaced if link.pair == known.pair] == [0.3]
    assert known.pair not in {link.pair for link in out}


def test_a_learned_link_replaces_no_known_one() -> None:
    learned = replace(TEMPLATES[0], sign=-1, provenance=Provenance.LEARNED)

    assert with_links(TEMPLATES, [learned]) == TEMPLATES


def test_a_link_that_closes_a_cycle_is_refused_with_its_members() -> None:
    back = Template("job_step_time_s", "gpu_power_watts", Join.JOB_GPU)

    with pytest.raises(InputError, match="rank_step_time_s -> job_step_time_s -> gpu_power_watts"):
        with_links(TEMPLATES, [back])


def test_what_was_learned_is_taken_over_by_the_settings_and_stays_weak(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from agent.config import load

    learned = replace(OWN, provenance=Provenance.LEARNED, strength=0.2, why="r +0.31")
    path = tmp_path_factory.mktemp("links") / "learned.toml"
    path.write_text(as_settings([learned]).replace("strength = 0.2", "strength = 1"))

    settings = load([path], environ={}).settings
    (link,) = [link for link in known_and_own(settings) if link.pair == learned.pair]
    assert (link.provenance, link.strength) == (Provenance.LEARNED, LEARNED_STRENGTH)


def test_the_settings_links_reach_the_graph_with_their_window() -> None:
    own = CausalLink.model_validate(
        {"cause": OWN.cause, "effect": OWN.effect, "lag_least": "15s", "lag": "2m"}
    )
    links = known_and_own(Settings(diagnose=Diagnose(link=(own,))))

    series = {name: targets(name) for name in (OWN.cause, OWN.effect)}
    graph = build_graph(series, SITE, links)
    assert len(pairs(graph)) == 4
    (link,) = graph.templates
    assert (link.lag_least_s, link.lag_s, link.provenance) == (15.0, 120.0, Provenance.USER)


def test_the_data_file_is_what_is_in_force() -> None:
    assert read_links(TEXT, "links.toml") == ALL_LINKS


def test_the_controller_diagnoses_by_the_links_of_the_settings() -> None:
    own = CausalLink.model_validate({"cause": OWN.cause, "effect": OWN.effect})

    watched = watch_settings(Settings(diagnose=Diagnose(link=(own,))))
    assert OWN.pair in {link.pair for link in watched.links}
    assert watch_settings(Settings()).links == TEMPLATES
