"""The settings of a Slurm cluster as scheduler."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.config.forms import slurm_name, slurmrestd
from agent.config.kinds import Name, OneSecondOrMore, PathText, SecretFile, Section
from agent.quantities import parse_duration as duration

SiteProgram = Literal["validate_node", "reset_gpu", "limit_clocks", "limit_power", "page_person"]


class Slurm(Section):
    """A Slurm cluster as scheduler: docs/slurm.md."""

    conf: PathText = Field(
        default="", description="its slurm.conf; empty: where Slurm's programs look for it"
    )
    bin: PathText = Field(default="", description="folder of Slurm's programs; empty: on PATH")
    rest: Annotated[str, AfterValidator(slurmrestd)] = Field(
        default="",
        description="slurmrestd for reading, unix:/PATH or its address; empty: the programs",
    )
    rest_token_file: SecretFile = Field(
        default="", description="file with the token (JWT) that slurmrestd wants"
    )
    timeout: OneSecondOrMore = Field(
        default=duration("10s"), description="longest wait for an answer"
    )
    spares: Annotated[str, AfterValidator(slurm_name)] = Field(
        default="gpumedic_spares", description="reservation that keeps spare nodes"
    )
    silent_after: OneSecondOrMore = Field(
        default=duration("30s"),
        description="a node that does not answer Slurm so long is down, before Slurm says so",
    )
    programs: Mapping[SiteProgram, tuple[Name, ...]] = Field(
        default_factory=dict,
        description="action = program and arguments, for what Slurm cannot do; {node} and the like "
        "stand for the action's own",
    )
