"""What an order was given for, and what came of it: the rows that audits read."""

import math

from core.choice import Choice
from sim.engine import menu, placement, standins
from sim.engine.facts import saved_at
from sim.engine.jit import compiled
from sim.engine.tables import Array, Tables
from sim.engine.terms import KNOB, NAMELESS
from sim.engine.words import Phase, Scope, Stage


@compiled
def log(w: Tables, trouble: int, causes: Array) -> None:
    """Write down what is ordered, and on what grounds."""
    core, row = w.core[0], w.troubles[trouble]
    row["order"] = core["orders_n"]
    core["orders_n"] += 1
    order = w.orders[row["order"]]
    order["time_s"], order["ended_s"] = core["now_s"], math.nan
    order["trouble"], order["choice"], order["worked"] = trouble, row["choice"], False
    order["node"], order["job"] = row["at"], row["subject_number"]
    order["other"], order["put"] = row["beside"], row["spare"]
    order["knob"] = causes[row["cause"], KNOB] if row["choice"] == Choice.TUNE else 0
    order["also_put"], order["save"] = row["spare_beside"], row["save"]
    order["taken"], order["unsaved_gpu_s"] = 0, 0.0
    _log_grounds(w, trouble, causes)
    order["back_s"], order["other_back_s"] = math.inf, math.inf


@compiled
def _log_grounds(w: Tables, trouble: int, causes: Array) -> None:
    """Write down what was said of the cause, and how the job stood among others."""
    row = w.troubles[trouble]
    order, job = w.orders[row["order"]], w.jobs[row["subject"]]
    first = row["probability"] if causes[row["cause"], NAMELESS] == 0 else 0.0
    second = row["other_probability"] if causes[row["other_cause"], NAMELESS] == 0 else 0.0
    order["probability"] = first if first > 0 else second
    order["blamed"], order["other_blamed"] = 0.0, 0.0
    if row["placed"]:
        order["blamed"] += first
    if row["other_placed"] and row["other_node"] == row["node"] and row["placed"]:
        order["blamed"] += second
    elif row["other_placed"]:
        order["other_blamed"] = second
    order["gpus"], order["priority"] = job["given"], job["priority"]
    order["stood"] = job["phase"] == Phase.STOPPED or job["stage"] == Stage.HUNG
    order["lowest"], order["highest"] = standins.ranks(w)


@compiled
def note(w: Tables, trouble: int) -> None:
    """Write down how much of the bounds is used, as an order has begun."""
    row = w.troubles[trouble]
    order = w.orders[row["order"]]
    order["out"] = w.core[0]["out"]
    order["rack"] = menu.out_beside(w, row["at"], Scope.RACK.value)
    order["leaf"] = menu.out_beside(w, row["at"], Scope.LEAF.value)
    order["spares"] = placement.count_spares(w, len(w.nodes))


@compiled
def count_unsaved(w: Tables, trouble: int) -> None:
    """Write down what a stop loses of a stepping job; SHRINK and TUNE write its state first."""
    row = w.troubles[trouble]
    job = w.jobs[row["subject"]]
    writes = row["choice"] in (Choice.SHRINK, Choice.TUNE)
    if job["stage"] == Stage.STEPPING and not math.isinf(job["interval_s"]) and not writes:
        since_s = max(saved_at(w, row["subject"]) - job["save_s"], job["since_s"])
        lost_s = w.core[0]["now_s"] - since_s
        w.orders[row["order"]]["unsaved_gpu_s"] += job["given"] * lost_s
