"""Scenarios as TOML: read with all that is wrong in them said at once, changed by key, written."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.target import Target
from sim.catalogue import fault_class
from sim.checks import nearest
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
from sim.scenario_keys import Key, keys_of, plain

_RUN = ("duration", "seeds", "telemetry")
_CLUSTER = ("nodes", "racks", "spares", "start", "history")
_DRAWN = {"profile": "profile", "scale": "rate_scale"}
_FAULT = ("fault", "node", "gpu", "switch", "rack", "job", "volume", "onset", "lasts", "severity")
_TOP = ("name", "text", "tags", "best", "cluster", "site", "workload", "job", "faults", "fault")
_NODE = re.compile(r"node-(\d+)", re.ASCII)
_STATEMENT = re.compile(r"\s*(?:(\[\[?)\s*([^\]\n]+?)\s*\]|([\w.\"'-]+)\s*=)")


class ScenarioRefused(InputError):
    """A scenario's file cannot be used; ``problems`` are all that were found."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{what}: {problems[0]}"
            if len(problems) == 1
            else "\n- ".join([f"{what}: {len(problems)} problems found.", *problems])
        )


def load(path: Path) -> Scenario:
    """Read a scenario's file; it is called as the file is, unless it names itself."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"reading the scenario {path}: {error.strerror}; name a file that can be read."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"reading the scenario {path}: it is not UTF-8 text (byte {error.start}); save it so."
        ) from None
    return parse_scenario(text, name=path.stem, path=str(path))


def parse_scenario(text: str, *, name: str, path: str = "") -> Scenario:
    """Read a scenario's text; ``path`` is for messages only."""
    what = f"reading the scenario {path or name}"
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioRefused(
            what, [f"it is not TOML: {error}. Text stands in quotes, a table's name in [brackets]."]
        ) from None
    except RecursionError:
        raise ScenarioRefused(what, ["its brackets are nested too deep."]) from None
    lines = _lines(text)
    return _Reader(what, lambda key: _line(key, lines, path)).scenario(data, name)


def overridden(scenario: Scenario, settings: Mapping[str, str]) -> Scenario:
    """Return the scenario with keys set as text, as ``--set key=value`` gives them.

    A key is one of the file's, with its section: ``cluster.nodes``, ``job.llm-70b.nodes`` (a job by
    its id), ``fault.0.onset``, ``faults.per_day.gpu_hang``.
    """
    data = document(scenario)
    places = {}
    for key, text in settings.items():
        path = _path(key, scenario)
        places[".".join(str(part) for part in path)] = f"--set {key}={text}: "
        _put(data, path, text)
    what = f"changing the scenario {scenario.name}"
    reader = _Reader(what, lambda key: _place(key, places), dotted=True)
    return reader.scenario(data, scenario.name)


def to_toml(scenario: Scenario) -> str:
    """Write a scenario so that ``parse_scenario`` reads the very same."""
    return "\n".join(_write("", document(scenario))).lstrip("\n") + "\n"


def document(scenario: Scenario) -> dict[str, Any]:
    """Return the tables of a scenario's file; what is as by default is left out."""
    own = plain(scenario)
    tables: dict[str, Any] = {
        "name": scenario.name,
        **{key: own[key] for key in ("text", "best") if key in own},
        "tags": list(scenario.tags),
        "cluster": {key: own[key] for key in _CLUSTER if key in own} | plain(scenario.machines),
        "site": plain(scenario.site),
        "faults": {key: own[field] for key, field in _DRAWN.items() if field in own},
        "run": {key: own[key] for key in _RUN if key in own} | {"seeds": list(scenario.seeds)},
        "policy": {"name": scenario.policy},
        "job": [_job_table(job) for job in scenario.jobs],
        "fault": [_fault_table(spec) for spec in scenario.faults],
    }
    if scenario.machines.mixed:
        tables["cluster"]["mixed"] = [{"gpu": g, "nodes": n} for g, n in scenario.machines.mixed]
    if scenario.workload is not None:
        tables["workload"] = plain(scenario.workload)
    if scenario.rates:
        tables["faults"]["per_day"] = dict(scenario.rates)
    return {key: value for key, value in tables.items() if value or key in ("name", "workload")}


def _job_table(job: JobSpec) -> dict[str, Any]:
    return plain(job) | ({} if job.service is None else {"service": plain(job.service)})


def _fault_table(spec: FaultSpec) -> dict[str, Any]:
    target: dict[str, Any] = dict(spec.target.labels())
    if "gpu" in target:
        target["gpu"] = int(target["gpu"])
    return plain(spec) | target


class _Reader:
    """Reads one document; ``problems`` grow, and are refused together.

    dotted: its keys are set one by one, each with its section before it
    """

    def __init__(self, what: str, place: Callable[[str], str], *, dotted: bool = False) -> None:
        self._what = what
        self._place = place
        self._dotted = dotted
        self.problems: list[str] = []

    def scenario(self, data: Mapping[str, Any], name: str) -> Scenario:
        """Return the scenario; ScenarioRefused with all that is wrong."""
        self._known("", data, (*_TOP, "run", "policy"))
        own = keys_of(Scenario)
        top = {key: own[key] for key in ("name", "text", "best")}
        values = self._values("", {key: data[key] for key in top if key in data}, top)
        values.setdefault("name", name)
        values |= self._cluster(data)
        values |= self._section(data, "run", {key: own[key] for key in _RUN if key in own})
        values |= self._drawn(data)
        policy = Key("name", "policy", "text")
        values |= self._section(data, "policy", {"name": policy})
        values["site"] = self._part(data, "site", Site) or Site()
        if "workload" in data:
            values["workload"] = self._part(data, "workload", Workload)
        values["seeds"] = self._list(data.get("run", {}), "run.seeds", int) or (0,)
        values["tags"] = self._list(data, "tags", str)
        values["jobs"] = tuple(self._jobs(data))
        nodes = values.get("nodes", 0)
        values["faults"] = tuple(self._faults(data, nodes))
        made = None if self.problems else self._made("", Scenario, values)
        if made is None:
            raise ScenarioRefused(self._what, self.problems)
        scenario: Scenario = made
        return scenario

    def _cluster(self, data: Mapping[str, Any]) -> dict[str, Any]:
        own, machines = keys_of(Scenario), keys_of(Machines)
        table = self._table(data, "cluster")
        keys = {**{key: own[key] for key in _CLUSTER}, **machines}
        self._known("cluster", table, (*keys, "mixed"))
        read = self._values("cluster", table, keys)
        values = {key: read[key] for key in map(_field(own), _CLUSTER) if key in read}
        for key in ("nodes", "racks", "spares"):
            if key not in values and key not in table:
                self._say("cluster", f"cluster.{key} is missing: add it.")
        of = {key: value for key, value in read.items() if key not in values}
        mixed = []
        for number, row in enumerate(self._tables(table, "mixed", "cluster.mixed")):
            where = f"cluster.mixed.{number}"
            keys = {"gpu": machines["gpu"], "nodes": own["nodes"]}
            self._known(where, row, tuple(keys))
            got = self._values(where, row, keys)
            if len(got) == len(keys):
                mixed.append((got["gpu"], got["nodes"]))
        values["machines"] = self._made("cluster", Machines, of | {"mixed": tuple(mixed)})
        return values

    def _drawn(self, data: Mapping[str, Any]) -> dict[str, Any]:
        own = keys_of(Scenario)
        table = self._table(data, "faults")
        keys = {key: own[field] for key, field in _DRAWN.items()}
        self._known("faults", table, (*keys, "per_day"))
        values = self._values("faults", table, keys)
        rates = []
        for name, rate in self._table(table, "per_day", "faults.per_day").items():
            key = f"faults.per_day.{name}"
            try:
                fault_class(name)
                rates.append((name, own["rate_scale"].read(rate)))
            except InputError as error:
                self._say(key, f"{key}: {error}")
        return values | {"rates": tuple(rates)}

    def _jobs(self, data: Mapping[str, Any]) -> Iterator[JobSpec]:
        for number, table in enumerate(self._tables(data, "job", "job")):
            where = f"job.{number}"
            keys = keys_of(JobSpec)
            self._known(where, table, (*keys, "service"))
            values = self._values(where, table, keys)
            if "service" in table:
                values["service"] = self._part(table, "service", ServiceSpec, f"{where}.service")
            if made := self._made(where, JobSpec, values):
                yield made

    def _faults(self, data: Mapping[str, Any], nodes: int) -> Iterator[FaultSpec]:
        for number, table in enumerate(self._tables(data, "fault", "fault")):
            where = f"fault.{number}"
            self._known(where, table, _FAULT)
            values = self._values(where, table, keys_of(FaultSpec))
            target = {}
            for part in ("node", "gpu", "switch", "rack", "job", "volume"):
                value = table.get(part)
                if isinstance(value, int) and part in ("node", "gpu") and value >= 0:
                    value = node_name(value, nodes) if part == "node" else str(value)
                if isinstance(value, str):
                    target[part] = value
                elif value is not None:
                    self._say(f"{where}.{part}", f"{where}.{part}: {value!r} is not a name.")
            # A name's digits are as many as the cluster needs: a larger one writes them otherwise.
            if (match := _NODE.fullmatch(target.get("node", ""))) and int(match[1]) < nodes:
                target["node"] = node_name(int(match[1]), nodes)
            if made := self._made(where, FaultSpec, values | {"target": Target(**target)}):
                yield made

    def _section(
        self, data: Mapping[str, Any], name: str, keys: Mapping[str, Key]
    ) -> dict[str, Any]:
        table = self._table(data, name)
        self._known(name, table, (*keys, *(("seeds",) if name == "run" else ())))
        return self._values(name, table, keys)

    def _part(self, data: Mapping[str, Any], name: str, kind: type, where: str = "") -> Any:
        table = self._table(data, name, where)
        self._known(where or name, table, tuple(keys_of(kind)))
        return self._made(where or name, kind, self._values(where or name, table, keys_of(kind)))

    def _values(
        self, where: str, table: Mapping[str, Any], keys: Mapping[str, Key]
    ) -> dict[str, Any]:
        values = {}
        for name, value in table.items():
            if name in keys:
                dotted = f"{where}.{name}" if where else name
                try:
                    values[keys[name].field] = keys[name].read(value)
                except InputError as error:
                    self._say(dotted, f"{dotted}: {error}")
        return values

    def _made(self, where: str, kind: type, values: Mapping[str, Any]) -> Any:
        """Return a part made of its values; None where they do not make one, which is said."""
        before = len(self.problems)
        if before and any(f"{where}." in problem for problem in self.problems):
            return None
        for key in keys_of(kind).values():
            if key.required and key.field not in values:
                self._say(where, f"{where}.{key.name} is missing: add it.")
        if len(self.problems) > before:
            return None
        try:
            return kind(**values)
        except InputError as error:
            self._say(where, str(error))
            return None

    def _known(self, where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in table:
            if key in known:
                continue
            dotted = f"{where}.{key}" if where else key
            meant = nearest(key, known)
            if self._dotted and where:
                meant = nearest(dotted, [f"{where}.{name}" for name in known])
            elif self._dotted and (homes := _homes(key)):
                meant = f"did you mean {' or '.join(homes)}?"
            self._say(dotted, f"there is no key {dotted}; {meant}")

    def _table(self, data: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
        table = data.get(name, {})
        if isinstance(table, dict):
            return table
        where = where or name
        self._say(where, f"{where} is {table!r}: write it as a table, its name in [brackets].")
        return {}

    def _tables(
        self, data: Mapping[str, Any], name: str, where: str
    ) -> Sequence[Mapping[str, Any]]:
        tables = data.get(name, [])
        if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
            return tables
        self._say(where, f"{where} is {tables!r}: write each as a table, [[{name}]].")
        return ()

    def _list(self, data: Any, name: str, kind: type) -> tuple[Any, ...]:
        values = data.get(name.rpartition(".")[2], []) if isinstance(data, dict) else []
        if isinstance(values, list) and all(type(value) is kind for value in values):
            return tuple(values)
        self._say(name, f"{name} is {values!r}: write a list in [brackets].")
        return ()

    def _say(self, key: str, text: str) -> None:
        self.problems.append(self._place(key) + text)


def _homes(key: str) -> list[str]:
    """Return the key with each section that has it."""
    sections = {
        "cluster": {*_CLUSTER, *keys_of(Machines)},
        "site": {*keys_of(Site)},
        "workload": {*keys_of(Workload)},
        "faults": {*_DRAWN},
        "run": {*_RUN},
    }
    return [f"{section}.{key}" for section, keys in sections.items() if key in keys]


def _field(keys: Mapping[str, Key]) -> Callable[[str], str]:
    return lambda name: keys[name].field


def _path(key: str, scenario: Scenario) -> tuple[str | int, ...]:
    """Split a dotted key; a job goes by its id, a table in a list by its number."""
    section, _, rest = key.partition(".")
    for number, job in enumerate(scenario.jobs):
        if section == "job" and rest.startswith(f"{job.id}."):
            return ("job", number, *rest[len(job.id) + 1 :].split("."))
    parts: list[str | int] = [section, *rest.split(".")] if rest else [section]
    if section == "fault" and len(parts) > 1 and str(parts[1]).isdigit():
        parts[1] = int(parts[1])
    if section in ("job", "fault") and (len(parts) < 3 or not isinstance(parts[1], int)):
        ids = [job.id for job in scenario.jobs]
        number_of = nearest(rest.partition(".")[0], ids) if section == "job" else "count from 0."
        raise InputError(
            f"--set {key}: name one of the scenario's {section}s and its key, as in "
            f"{section}.{ids[0] if section == 'job' and ids else 0}.KEY; {number_of}"
        )
    return tuple(parts)


def _put(data: dict[str, Any], path: Sequence[str | int], text: str) -> None:
    table: Any = data
    for part in path[:-1]:
        if isinstance(part, int) and part >= len(table):
            raise InputError(f"--set {'.'.join(map(str, path))}: there are {len(table)} of them.")
        table = table[part] if isinstance(part, int) else table.setdefault(part, {})
        if not isinstance(table, dict | list):
            raise InputError(f"--set {'.'.join(map(str, path))}: {part} has no keys.")
    table[path[-1]] = _value(text)


def _value(text: str) -> Any:
    """Read a value as TOML would; what is no TOML is text, as "1h" and plain words are."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _place(key: str, places: Mapping[str, str]) -> str:
    """Return by which setting a key came to be as it is; "" for one of the scenario's own."""
    return next((text for at, text in places.items() if f"{key}.".startswith(f"{at}.")), "")


def _line(key: str, lines: Mapping[str, int], path: str) -> str:
    """Return the file and line of a key, or of the table that it is missing from."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    at = str(lines[key]) if key else ""
    return f"{path}:{at}: " if path and at else f"line {at}: " if at else ""


def _lines(text: str) -> dict[str, int]:
    """Map each dotted key to its line; tomllib reads values but keeps no lines."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        match = _STATEMENT.match(line)
        if match is None:
            continue
        if match[1]:
            parent, dot, last = match[2].partition(".")
            if match[1] == "[[":
                counts[parent] = counts.get(parent, -1) + 1
            inside = f".{counts[parent]}" if parent in counts else ""
            table = f"{parent}{inside}{dot}{last}"
            lines.setdefault(table, number)
        else:
            key = match[3].strip("\"'")
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def _write(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table: its own values first, then the tables inside."""
    inner: list[tuple[str, Mapping[str, Any], str]] = []
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            inner.append((name, value, f"[{name}]"))
        elif path == "" and isinstance(value, list) and value and isinstance(value[0], dict):
            inner += [(name, row, f"[[{name}]]") for row in value]
        else:
            yield f"{key} = {_literal(value)}"
    for name, row, head in inner:
        yield from ("", head)
        yield from _write(name, row)


def _literal(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            return (
                "{ " + ", ".join(f"{key} = {_literal(part)}" for key, part in value.items()) + " }"
            )
        case _:
            return repr(value)
