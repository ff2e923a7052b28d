"""The settings of checkpoints: which jobs' are looked after, and where copies of them go."""

from typing import Annotated

from pydantic import AfterValidator, Field

from agent.config.kinds import Count, Folder, Name, OneSecondOrMore, Section, Text
from agent.quantities import Duration, Size, at_least
from agent.quantities import parse_duration as duration
from agent.quantities import parse_size as size


class CheckpointFolder(Section):
    """A job's checkpoints: how old the newest may get, and where copies go."""

    job: Name = Field(description="the job, as the scheduler names it", examples=["llama-70b"])
    path: Folder = Field(
        description="folder that its checkpoints are in", examples=["/checkpoints/llama-70b"]
    )
    loss_budget: Duration = Field(
        default=duration("1h"),
        description="an incident opens when the newest valid one is older; 0s: never",
    )
    read: bool = Field(
        default=True, description="whether each new one is read in full, once; else its headers"
    )
    copies: Text = Field(
        default="",
        description="second place: a folder, or an address such as s3://bucket/job; empty: none",
    )
    copy_rate: Annotated[Size, AfterValidator(at_least("1kB"))] = Field(
        default=size("200MB"), description="most bytes a second that copying takes"
    )
    keep: Annotated[Count, Field(ge=1)] = Field(default=3, description="newest copies that stay")
    keep_every: Count = Field(
        default=0, description="copies stay whose step this divides; 0: none beside the newest"
    )


class Checkpoints(Section):
    """Checkpoints of jobs: looked at, verified and copied; see docs/checkpoints.md."""

    audit: OneSecondOrMore = Field(default=duration("5m"), description="time between two looks")
    folder: tuple[CheckpointFolder, ...] = Field(default=(), description="the jobs' folders")
