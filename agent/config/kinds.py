"""What values and sections of the settings have in common: a type for each form."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from agent.config.forms import (
    absolute,
    absolute_or_none,
    cidr,
    http_url,
    label_name,
    linked_metric,
    metric_name,
    moment,
    no_boolean,
    one_line,
    secret_reference,
    socket_address,
)
from agent.quantities import Duration, Size, at_least

Text = Annotated[str, AfterValidator(one_line)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)]
MetricName = Annotated[str, AfterValidator(metric_name)]
LinkedMetric = Annotated[str, AfterValidator(linked_metric)]
LabelName = Annotated[str, AfterValidator(label_name)]
Url = Annotated[str, AfterValidator(http_url)]
GivenUrl = Annotated[str, Field(min_length=1), AfterValidator(http_url)]
SecretFile = Annotated[str, AfterValidator(secret_reference)]
PathText = Annotated[str, AfterValidator(absolute_or_none)]
Folder = Annotated[Path, AfterValidator(absolute)]
Moment = Annotated[str, AfterValidator(moment)]
Listen = Annotated[str, AfterValidator(socket_address)]
Network = Annotated[str, AfterValidator(cidr)]
Count = Annotated[int, BeforeValidator(no_boolean), Field(ge=0)]
Number = Annotated[float, BeforeValidator(no_boolean)]
Probability = Annotated[Number, Field(ge=0, le=1)]
OneSecondOrMore = Annotated[Duration, AfterValidator(at_least("1s"))]
Memory = Annotated[Size, AfterValidator(at_least("128MiB"))]
Body = Annotated[Size, AfterValidator(at_least("1KiB"))]


class Section(BaseModel):
    """What every section shares: no unknown key, no change after the start, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
