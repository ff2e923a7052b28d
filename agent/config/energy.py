"""The settings of what energy costs."""

from typing import Annotated

from pydantic import Field

from agent.config.kinds import Name, Number, Section

Rate = Annotated[Number, Field(ge=0)]


class Energy(Section):
    """What a kilowatt-hour costs, for what jobs use (docs/energy.md)."""

    price_per_kwh: Rate = Field(default=0.0, description="what a kilowatt-hour costs; 0: not known")
    currency: Name = Field(default="EUR", description="of the price")
    carbon_g_per_kwh: Rate = Field(
        default=0.0, description="grams of CO2 that a kilowatt-hour stands for; 0: not known"
    )
    host_watts: Rate = Field(
        default=240.0, description="what a host draws for each of its GPUs, whatever they do"
    )
    most_slowdown: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=0.05, description="how much longer a step may take under a power limit it suggests"
    )
    overhead: Annotated[Number, Field(ge=1, le=5)] = Field(
        default=1.0,
        description="energy drawn in all for one that GPUs and hosts draw, such as by cooling",
    )
