"""The settings of trainings that ``gpumedic launch`` runs, as scheduler."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from agent.config.kinds import Name, PathText, Section

LaunchProgram = Literal[
    "validate_node", "reset_gpu", "limit_clocks", "limit_power", "reboot_node", "restart_job"
]


class Torchrun(Section):
    """Launches coordinated on this machine as scheduler: docs/real-jobs.md."""

    folder: PathText = Field(
        default="",
        description="folder of the launches' control sockets; empty: of the user gpumedic runs as",
    )
    programs: Mapping[LaunchProgram, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="action = program and arguments, for what a launch cannot do; {node} and the "
        "like stand for the action's own",
    )
