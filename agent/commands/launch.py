"""``gpumedic launch``: start a training as torchrun does, and hand over when a rank dies."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, print_json, say

if TYPE_CHECKING:
    from agent.launch.plan import Message

PANEL = "Start here"
_MIB = 1 << 20


def _named(name: str, text: str, *more: str, least: float | None = None) -> typer.models.OptionInfo:
    """Declare an option as torchrun has it: with dashes or underscores, or as PET_NAME."""
    underscored = name.replace("-", "_")
    names = [f"--{name}", *([f"--{underscored}"] if "-" in name else []), *more]
    option: typer.models.OptionInfo = typer.Option(
        *names, envvar=f"PET_{underscored.upper()}", help=text, show_envvar=False, min=least
    )
    return option


Script = Annotated[
    list[str] | None, typer.Argument(metavar="SCRIPT", help="The script and its arguments.")
]
Nnodes = Annotated[str, _named("nnodes", "How many nodes: N or MIN:MAX.")]
PerNode = Annotated[str, _named("nproc-per-node", "Ranks on each node, or auto, cpu or gpu.")]
MaxRestarts = Annotated[
    int, _named("max-restarts", "Restarts of the whole group; a hand-over is none.", least=0)
]
Standbys = Annotated[int, typer.Option(min=0, help="Warm processes kept on each node.")]
Endpoint = Annotated[str, _named("rdzv-endpoint", "HOST[:PORT] where several nodes meet.")]
RunId = Annotated[str, _named("rdzv-id", "The job's name.")]
Backend = Annotated[str, _named("rdzv-backend", "static or c10d; ours stands in for both.")]
Conf = Annotated[str, _named("rdzv-conf", "join_timeout=S, last_call_timeout=S.")]
NodeRank = Annotated[
    int, _named("node-rank", "With --master-addr: node 0 is where all meet.", least=0)
]
MasterAddr = Annotated[str, _named("master-addr", "As --rdzv-endpoint, without its port.")]
MasterPort = Annotated[int, _named("master-port", "Its port.")]
LocalAddr = Annotated[str, _named("local-addr", "Address by which others reach this node.")]
Role = Annotated[str, _named("role", "Named in ROLE_NAME.")]
Module = Annotated[bool, _named("module", "SCRIPT is a module.", "-m")]
NoPython = Annotated[bool, _named("no-python", "SCRIPT is a program of its own.")]
LogDir = Annotated[Path | None, _named("log-dir", "A folder for the workers' output.")]
Standalone = Annotated[bool, _named("standalone", "This node alone.")]
Monitor = Annotated[float, _named("monitor-interval", "Does not apply: the kernel tells at once.")]
Hang = Annotated[
    float, typer.Option(min=0, help="Least seconds without a step that are looked into.")
]
Coordinate = Annotated[
    bool, typer.Option("--coordinate", help="Only coordinate: this machine gets no ranks.")
]
Name = Annotated[str, typer.Option(help="This node's name.")]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", help="A file for a JSON line of all that happens.")
]
Status = Annotated[bool, typer.Option("--status", help="Show your launches on this machine.")]


def launch(
    script: Script = None,
    nnodes: Nnodes = "1",
    nproc_per_node: PerNode = "1",
    max_restarts: MaxRestarts = 0,
    standbys: Standbys = 1,
    rdzv_endpoint: Endpoint = "",
    rdzv_id: RunId = "none",
    rdzv_backend: Backend = "c10d",
    rdzv_conf: Conf = "",
    node_rank: NodeRank = 0,
    master_addr: MasterAddr = "",
    master_port: MasterPort = 29500,
    local_addr: LocalAddr = "",
    role: Role = "default",
    module: Module = False,
    no_python: NoPython = False,
    log_dir: LogDir = None,
    standalone: Standalone = False,
    monitor_interval: Monitor = 0.1,
    hang: Hang = 1.0,
    coordinate: Coordinate = False,
    name: Name = "",
    journal: JournalFile = None,
    status: Status = False,
    as_json: AsJson = False,
) -> None:
    """Start a training as torchrun does: same arguments, same environment, same script.

    A script that imports gpumedic_job loses no step when a rank dies: a warm standby takes its
    place. Any other is started again, as torchrun would (docs/launch.md).
    """
    if status:
        _status(as_json=as_json)
        return
    if not script and not coordinate:
        raise typer.BadParameter("name the script: gpumedic launch [OPTIONS] -- train.py ARGUMENTS")
    from agent.launch import arguments, running
    from agent.launch.node import Command
    from agent.launch.plan import Plan

    arguments.files(None if module or no_python else script, journal, log_dir)
    arguments.backend(rdzv_backend)
    least, most = arguments.node_counts(nnodes)
    plan = Plan(
        per_node=arguments.ranks_per_node(nproc_per_node),
        min_nodes=least,
        max_nodes=most,
        max_restarts=max_restarts,
        standbys=0 if no_python else standbys,
        run_id=rdzv_id,
        role=role,
        hang_s=hang,
    )
    where = rdzv_endpoint or (f"{master_addr}:{master_port}" if master_addr else "")
    here = running.Here(
        command=Command(script, module=module, python=not no_python) if script else None,
        name=name or running.node_name(),
        endpoint=arguments.endpoint(where) if where and not standalone else None,
        joins=bool(master_addr) and node_rank > 0,
        address=local_addr,
        log_dir=log_dir,
        journal=journal,
    )
    raise typer.Exit(asyncio.run(running.run(arguments.with_waits(plan, rdzv_conf), here)))


def _status(*, as_json: bool) -> None:
    from agent.launch.asking import launches

    found, silent = launches()
    if as_json:
        print_json(found)
        return
    for each in found:
        for line in _lines(each):
            say(line)
    for path in silent:
        say(f"{path}: somebody listens there and does not answer now")
    if not (found or silent):
        say("No launch of yours runs here.")


def _lines(found: "Message") -> list[str]:
    """Describe a launch: where it is, its ranks and standbys, and what they cost here."""
    ready = sum(each["ready"] for each in found["standbys"])
    return [
        f"{found['run_id']}: {found['stage']}, generation {found['generation']}, "
        f"{found['handovers']} hand-overs, {found['restarts']} restarts ({found['control']})",
        *(
            f"  rank {each['rank']} on {each['node']}: step {each['step']}, {each['stand']}"
            for each in found["ranks"]
        ),
        f"  {ready} of {len(found['standbys'])} standbys ready",
        *([_memory(found)] if "memory_bytes" in found else []),  # who only coordinates has none
    ]


def _memory(found: "Message") -> str:
    """Describe what the coordinator's node has in memory; others know of their own."""
    memory, standbys = found["memory_bytes"], {each["uid"] for each in found["standbys"]}
    cost = sum(size for uid, size in memory.items() if uid in standbys)
    ranks = sum(size for uid, size in memory.items() if uid not in standbys)
    return (
        f"  memory on this node: standbys {cost / _MIB:.0f} MiB, and "
        f"{found['fork_server_bytes'] / _MIB:.0f} MiB of what they are forked from; "
        f"ranks {ranks / _MIB:.0f} MiB; states kept {found['kept_state_bytes'] / _MIB:.1f} "
        f"MiB; supervisor {found['supervisor_bytes'] / _MIB:.0f} MiB"
    )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL, context_settings={"allow_interspersed_args": False})(launch)
