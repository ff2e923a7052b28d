"""The settings of a Kubernetes cluster as scheduler."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.config.forms import kubernetes_key, kubernetes_name
from agent.config.kinds import Name, OneSecondOrMore, PathText, Section, Text
from agent.quantities import parse_duration as duration

SiteProgram = Literal[
    "validate_node", "reset_gpu", "limit_clocks", "limit_power", "page_person", "reboot_node"
]
KubernetesName = Annotated[str, AfterValidator(kubernetes_name)]
Key = Annotated[str, AfterValidator(kubernetes_key)]


class Kubernetes(Section):
    """A Kubernetes cluster as scheduler: docs/kubernetes.md."""

    kubeconfig: PathText = Field(
        default="",
        description="file that names the cluster; empty: the service account of the own pod",
    )
    context: Text = Field(default="", description="context of that file; empty: its current one")
    namespaces: tuple[KubernetesName, ...] = Field(
        default=(), description="whose jobs are read and healed; empty: all"
    )
    timeout: OneSecondOrMore = Field(
        default=duration("10s"), description="longest wait for an answer"
    )
    gpu: Key = Field(default="nvidia.com/gpu", description="resource that GPUs are counted as")
    spares: Key = Field(default="gpumedic/spare", description="taint that keeps spare nodes")
    group_label: Key = Field(
        default="node.kubernetes.io/instance-type",
        description="label of nodes whose value is their group",
    )
    lease: KubernetesName = Field(
        default="gpumedic", description="name of the Lease: only the controller that holds it acts"
    )
    lease_namespace: KubernetesName = Field(
        default="gpumedic", description="where it is; all controllers of a cluster name the same"
    )
    programs: Mapping[SiteProgram, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="action = program and arguments, for what Kubernetes cannot do; {node} and the "
        "like stand for the action's own",
    )
