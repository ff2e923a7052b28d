"""The settings: every key with its type, its default and one sentence; all frozen."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.config.checkpoints import Checkpoints
from agent.config.energy import Energy
from agent.config.forms import acting_policy, shadow_policy
from agent.config.kinds import (
    Body,
    Count,
    Folder,
    GivenUrl,
    LabelName,
    LinkedMetric,
    Listen,
    Memory,
    MetricName,
    Moment,
    Name,
    Network,
    Number,
    OneSecondOrMore,
    PathText,
    Probability,
    SecretFile,
    Section,
    Url,
)
from agent.config.kubernetes import Kubernetes
from agent.config.node import Node
from agent.config.node_checks import Checks
from agent.config.slurm import Slurm
from agent.config.torchrun import Torchrun
from agent.config.verify import Verify
from agent.quantities import Duration
from agent.quantities import parse_duration as duration
from agent.quantities import parse_size as size
from core.ports import Announcement
from core.types import Autonomy
from rca.graph.templates import Join

ENV_PREFIX = "GPUMEDIC__"
STATE_DIR = Path("/var/lib/gpumedic")
TargetPart = Literal["node", "gpu", "port", "volume", "job", "rank", "switch", "rack"]


class Cycle(Section):
    """How often the loop runs."""

    interval: OneSecondOrMore = Field(
        default=duration("15s"), description="time between two cycles"
    )
    refit: OneSecondOrMore = Field(
        default=duration("4m"), description="time between two forecasts of a series"
    )


class History(Section):
    """What is kept of the readings."""

    step: OneSecondOrMore = Field(default=duration("15s"), description="grid of the readings")
    span: OneSecondOrMore = Field(
        default=duration("24h"), description="how far back readings are kept"
    )


class Prometheus(Section):
    """Where the readings come from."""

    url: Url = Field(default="", description="its address; empty looks for one on this machine")
    token_file: SecretFile = Field(default="", description="file with the bearer token")
    ca_file: PathText = Field(
        default="", description="file with the authority its certificate is signed by"
    )
    timeout: OneSecondOrMore = Field(
        default=duration("10s"), description="longest wait for an answer"
    )
    metrics: tuple[MetricName, ...] = Field(
        default=(), description="catalogue metrics to read; empty: all"
    )
    labels: Mapping[TargetPart, LabelName] = Field(
        default_factory=dict,
        description="part of a target = the label that names it here, before the usual ones",
    )


class Scheduler(Section):
    """Who knows the cluster and carries out orders."""

    backend: Literal["http", "slurm", "torchrun", "kubernetes"] = Field(
        default="http",
        description="http: what answers at url; slurm and kubernetes, as [slurm] and [kubernetes] "
        "say; or torchrun: what gpumedic launch runs, as [torchrun] says",
    )
    url: Url = Field(
        default="", description="its address; empty: nodes and jobs as readings name them"
    )
    token_file: SecretFile = Field(
        default="", description="file with the token that orders must bring"
    )
    ca_file: PathText = Field(
        default="", description="file with the authority its certificate is signed by"
    )
    timeout: OneSecondOrMore = Field(
        default=duration("10s"), description="longest wait for an answer"
    )


class Forecasts(Section):
    """How far ahead to look, and what is worth an incident."""

    horizon: OneSecondOrMore = Field(default=duration("2h"), description="how far ahead to look")
    coverage: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.8, description="share of readings that the band should hold"
    )
    min_probability: Probability = Field(
        default=0.4, description="no incident opens on a crossing that is less likely"
    )
    sustain: Duration = Field(
        default=duration("1m"), description="a crossing counts when it lasts this long; 0s: at once"
    )
    false_alarms_per_day: Annotated[Number, Field(gt=0, le=24)] = Field(
        default=0.1, description="warnings a day and series that may turn out false"
    )
    cluster_false_alarms_per_day: Annotated[Number, Field(gt=0)] = Field(
        default=24.0, description="the same for all series together; the lower of both counts"
    )
    model: Literal["pool", "fleet-prophet", "prophet"] = Field(
        default="pool",
        description="pool, fleet-prophet, or prophet: facebook's own, some thousand times slower",
    )
    workers: Annotated[Count, Field(ge=1, le=64)] = Field(default=1, description="worker processes")
    time_limit: OneSecondOrMore = Field(
        default=duration("60s"), description="longest a chunk of 2,048 series may take"
    )
    memory_limit: Memory = Field(default=size("2GiB"), description="most memory a worker may have")
    limits: Mapping[MetricName, Number] = Field(
        default_factory=dict,
        description="metric = limit in its base unit; wins over the catalogue's",
    )


class Detect(Section):
    """When readings are symptoms, and symptoms one incident."""

    group_window: OneSecondOrMore = Field(
        default=duration("10m"), description="symptoms this close together may be one incident"
    )
    resolve_after: OneSecondOrMore = Field(
        default=duration("5m"), description="an incident ends when its symptoms are gone this long"
    )
    silence_after: OneSecondOrMore = Field(
        default=duration("2m"), description="a series without readings this long is a symptom"
    )
    false_alarms_per_day: Annotated[Number, Field(gt=0, le=24)] = Field(
        default=0.01, description="odd readings a day that are told of a healthy series"
    )


class CausalLink(Section):
    """One more cause and effect for diagnoses, or other words on one that is known."""

    cause: LinkedMetric = Field(
        description="metric that moves the other", examples=["node_open_files_ratio"]
    )
    effect: LinkedMetric = Field(description="metric that is moved", examples=["rank_data_wait_s"])
    join: Join = Field(
        default=Join.NODE,
        description="what their targets share: gpu, port, volume, node, job; or who runs on what: "
        "gpu-job, node-job, job-gpu, job-node, switch-job",
    )
    sign: Literal[1, -1] = Field(
        default=1, description="1: they move together; -1: against each other"
    )
    lag_least: Duration = Field(
        default=duration("0s"), description="the effect comes at least this late"
    )
    lag: Duration = Field(default=duration("15s"), description="and at most this late")
    strength: Probability = Field(
        default=1.0, description="1: it always acts; less: seldom; 0 takes a known link out"
    )
    learned: bool = Field(
        default=False, description="only readings suggest it: shown as such, strength at most 0.2"
    )


class Diagnose(Section):
    """What counts as normal, and what the causal graph does not know yet."""

    normal_span: OneSecondOrMore = Field(
        default=duration("1h"), description="time before the incident that counts as normal"
    )
    link: tuple[CausalLink, ...] = Field(
        default=(), description="links beside those of the catalogue; see docs/causal-graph.md"
    )


class MaintenanceWindow(Section):
    """People work on these nodes: gpumedic keeps its hands off."""

    nodes: tuple[Name, ...] = Field(
        description="node names, with * and ? as wildcards", examples=[["node-1*"]]
    )
    start: Moment = Field(
        description="from this time on, with its zone", examples=["2026-12-01T22:00:00Z"]
    )
    end: Moment = Field(description="to this time", examples=["2026-12-02T04:00:00Z"])
    by: Name = Field(default="people", description="who works there, for messages")


class Guards(Section):
    """Bounds that no plan may cross."""

    max_nodes_out: Count = Field(default=4, description="most nodes out of service by our hand")
    max_ratio_out: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.1,
        description="the same as a share of the nodes; at least one node is always allowed",
    )
    max_nodes_out_per_rack: Count = Field(default=2, description="the same within one rack")
    max_nodes_out_per_switch: Count = Field(default=4, description="the same under one leaf switch")
    min_spares_left: Count = Field(default=0, description="ready spares that no plan may use up")
    priority_spares: Count = Field(
        default=0, description="ready spares that only a job of the highest priority may use"
    )
    max_job_gpus: Count = Field(
        default=0, description="largest job that is stopped without a person's word; 0: any"
    )
    max_job_share: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=1.0, description="the same as a share of the cluster's GPUs"
    )
    max_unsaved_gpu_hours: Annotated[Number, Field(ge=0)] = Field(
        default=50.0,
        description="work since its newest checkpoint that a running job may lose unsaved",
    )
    cooldown: Duration = Field(
        default=duration("30m"), description="pause between actions on one target"
    )
    evidence_max_age: OneSecondOrMore = Field(
        default=duration("5m"), description="oldest evidence that may be acted on"
    )
    min_probability: Probability = Field(
        default=0.6, description="least probability of the cause that may be acted on"
    )
    max_actions_per_hour: Count = Field(default=20, description="most actions in any hour")
    probation: Duration = Field(
        default=duration("1d"),
        description="a node that came back no longer ago is not trusted with the first job, nor "
        "rebooted again",
    )
    lemon_after: Annotated[Count, Field(ge=1)] = Field(
        default=3, description="a node taken out so often in 28 days is left to people"
    )
    page_pause: Duration = Field(
        default=duration("1h"),
        description="a person is not called again for one incident within this time",
    )
    taken_over: Duration = Field(
        default=duration("4h"),
        description="what a person who was called has taken over is left alone so long; their "
        "incident until it is over",
    )
    quiet: Duration = Field(
        default=duration("30m"),
        description="what a plan took is put back once all has been well there for so long",
    )
    owners_agree: tuple[Name, ...] = Field(
        default=(),
        description="action kinds that need the word of a job's owner and have it, with * and ?",
    )
    automation: tuple[Name, ...] = Field(
        default=("site",),
        description="who the site's own health checks take nodes out as: jobs may be moved off",
    )
    maintenance: tuple[MaintenanceWindow, ...] = Field(
        default=(), description="times at which people work on nodes"
    )


class Policies(Section):
    """Who chooses what is done about an incident, within the guards."""

    use: Annotated[str, AfterValidator(acting_policy)] = Field(
        default="twin",
        description="runbook, greedy, rl, twin (each choice is tried on a simulated twin of the "
        "cluster), or adopted: the file that `gpumedic policy promote` let in",
    )
    shadow: Annotated[str, AfterValidator(shadow_policy)] = Field(
        default="",
        description="asked beside it and only written down: one of the same, or the path of a "
        "policy file; empty: none",
    )
    time_limit: Duration = Field(
        default=duration("5s"),
        description="longest the twin may think about a decision, in a process of its own; then "
        "greedy decides; 0s: it always does",
    )
    explore: Annotated[Number, Field(ge=0, le=0.2)] = Field(
        default=0.0,
        description="share of decisions left to chance among safe choices, so that the journal "
        "can tell what the shadow would have lost",
    )


class Capacity(Section):
    """What is kept ready for work that is foreseen."""

    waiting_price: Annotated[Number, Field(ge=1)] = Field(
        default=9.0,
        description="how dear a GPU-second of waiting is against one of idling; 9: what is not "
        "exceeded with 90 % is had ready",
    )
    spares_kept: Count = Field(
        default=1, description="ready spares that stay, whatever jobs are foreseen"
    )
    spares: Count = Field(
        default=0, description="so many spares are made of free nodes that nothing is foreseen for"
    )
    room: Literal["moves", "spares", "priority"] = Field(
        default="moves",
        description="what a job is given room by that waits: small jobs that share nodes move "
        "together; spares beyond spares_kept, too; less urgent jobs shrink or wait, too",
    )
    most_slowdown: Annotated[Number, Field(ge=0, le=0.3)] = Field(
        default=0.0,
        description="how much longer a step of a training may take so that its GPUs draw less "
        "power; 0: power is left alone",
    )


class SiteTimes(Section):
    """How long things take here; what is seen moves each, and what is set counts as two seen."""

    repair: OneSecondOrMore = Field(
        default=duration("1d"),
        description="a node taken out for repair is away; 61.9 % were back the same day, 10.3 % "
        "after two weeks (SuperBench, ATC'24)",
    )
    validate_node: OneSecondOrMore = Field(
        default=duration("30m"),
        description="a node passes its checks; dcgmi diag -r 3 takes 15 min to an hour (NVIDIA)",
    )
    reboot: OneSecondOrMore = Field(
        default=duration("12m"), description="a node reboots with its self-test; assumed"
    )
    people: OneSecondOrMore = Field(
        default=duration("1h"),
        description="from a page until a person has mended it or said what to do; assumed",
    )
    page_gpu_hours: Annotated[Number, Field(ge=0)] = Field(
        default=16.0, description="what a page is priced at: two hours of an 8-GPU node, assumed"
    )
    faults_a_day: Annotated[Number, Field(gt=0)] = Field(
        default=0.54,
        description="incidents a day and 1,024 GPUs, until enough was seen; Llama 3: 466 in 54 "
        "days on 16,384",
    )
    false_share: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.05, description="share of incidents that end with nothing done; assumed"
    )


class AutonomyRule(Section):
    """How far gpumedic may go with some actions on some nodes; the first match wins."""

    action: Name = Field(default="*", description="action kinds, with * and ? as wildcards")
    group: Name = Field(default="*", description="node groups, with * and ? as wildcards")
    mode: Autonomy = Field(
        default=Autonomy.OBSERVE, description="observe, suggest, approve or auto"
    )


class Server(Section):
    """The page and the API."""

    listen: Listen = Field(
        default="127.0.0.1:8642", description="address and port; port 0: any free one"
    )
    alerts_secret_file: SecretFile = Field(
        default="", description="file with the secret that incoming webhooks must be signed with"
    )
    max_body: Body = Field(default=size("5MiB"), description="largest request body")
    names: tuple[Name, ...] = Field(
        default=(), description="host names it is reached by, beside its addresses"
    )
    external_url: Url = Field(
        default="", description="how people reach the page, for links; empty: the address above"
    )


class Webhook(Section):
    """One receiver of messages."""

    name: Name = Field(description="name in logs and metrics", examples=["ops"])
    url: GivenUrl = Field(
        description="where messages are posted", examples=["https://hooks.example/gpumedic"]
    )
    secret_file: SecretFile = Field(
        default="", description="file with the secret messages are signed with"
    )
    announcements: tuple[Announcement, ...] = Field(
        default=(), description="which to send; empty: all"
    )
    allow_private_addresses: bool = Field(
        default=True, description="whether loopback and private networks may be reached"
    )
    allowed_networks: tuple[Network, ...] = Field(
        default=(),
        description="networks that may be reached even if link-local or a cloud's metadata",
    )


class Alertmanager(Section):
    """An Alertmanager that is told of incidents."""

    url: Url = Field(default="", description="its address; empty: none is told")
    token_file: SecretFile = Field(default="", description="file with the bearer token")


class Log(Section):
    """The log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="json, text, or auto: text on a terminal and json elsewhere"
    )


class Settings(BaseSettings):
    """Everything that can be set. Built from plain data only; ``load`` reads the layers."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    cluster: Name = Field(default="default", description="the cluster's name in messages")
    state_dir: Folder = Field(
        default=STATE_DIR,
        description="folder for the store and the history; a user's own without root",
    )
    cycle: Cycle = Cycle()
    history: History = History()
    prometheus: Prometheus = Prometheus()
    scheduler: Scheduler = Scheduler()
    slurm: Slurm = Slurm()
    kubernetes: Kubernetes = Kubernetes()
    torchrun: Torchrun = Torchrun()
    host: Node = Node()
    checks: Checks = Checks()
    forecast: Forecasts = Forecasts()
    detect: Detect = Detect()
    diagnose: Diagnose = Diagnose()
    guards: Guards = Guards()
    verify: Verify = Verify()
    policy: Policies = Policies()
    checkpoints: Checkpoints = Checkpoints()
    site: SiteTimes = SiteTimes()
    capacity: Capacity = Capacity()
    energy: Energy = Energy()
    autonomy: tuple[AutonomyRule, ...] = ()
    server: Server = Server()
    webhooks: tuple[Webhook, ...] = ()
    alertmanager: Alertmanager = Alertmanager()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: ``load`` knows where each value came from."""
        return (init_settings,)

    def autonomy_of(self, action_kind: str, group: str) -> Autonomy:
        """Return how far gpumedic may go; the first rule that matches wins, else observe."""
        for rule in self.autonomy:
            if fnmatchcase(action_kind, rule.action) and fnmatchcase(group, rule.group):
                return rule.mode
        return Autonomy.OBSERVE
