"""The settings of verifying: when a plan counts as having helped."""

from pydantic import Field

from agent.config.kinds import OneSecondOrMore, Section
from agent.quantities import Duration
from agent.quantities import parse_duration as duration


class Verify(Section):
    """When a plan counts as having helped."""

    settle: Duration = Field(
        default=duration("1m"),
        description="so long after the last action late readings of the old trouble do not count",
    )
    sustain: Duration = Field(
        default=duration("1m"),
        description="then nothing may show, and the job must make steps, for so long",
    )
    deadline: OneSecondOrMore = Field(
        default=duration("15m"), description="without that by then, it did not help"
    )
