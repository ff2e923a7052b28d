"""Many values of a GPU in one call: ``nvmlDeviceGetFieldValues``, less what it does not support."""

from collections.abc import Iterable
from typing import Any

from agent.collect.nvml import errors
from agent.collect.nvml.queries import Field
from agent.collect.reading import Labels, Missing, Reading
from core.target import Target

_CALL = "nvmlDeviceGetFieldValues"
# nvmlValueType_t -> the member of the union that holds the value.
_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class FieldBatch:
    """Fields of one GPU; each with the number of the link that it is asked for, or None."""

    def __init__(
        self, nvml: Any, target: Target, wanted: Iterable[tuple[Field, int | None]]
    ) -> None:
        self._nvml, self._target = nvml, target
        self._wanted = [(field, link, _labels(field, link)) for field, link in wanted]
        self._unsupported: list[Missing] = []

    def read(self, handle: Any, readings: list[Reading], missing: list[Missing]) -> None:
        """Add what the GPU says; raises NVMLError where it does not answer at all."""
        asked = [f.id if link is None else (f.id, link) for f, link, _ in self._wanted]
        found = self._nvml.nvmlDeviceGetFieldValues(handle, asked) if asked else ()
        refused: set[int] = set()
        for place, (value, (field, _, labels)) in enumerate(zip(found, self._wanted, strict=True)):
            if value.nvmlReturn == 0:
                number = getattr(value.value, _MEMBERS[value.valueType])
                readings.append(Reading(field.metric, self._target, number * field.unit, labels))
                continue
            error = self._nvml.NVMLError(value.nvmlReturn)
            if value.nvmlReturn in errors.LOST | errors.UNLOADED:
                raise error
            lacks = Missing(field.metric, self._target, f"{_CALL}: field {field.id}: {error}")
            if value.nvmlReturn in errors.LASTING:
                refused.add(place)
                self._unsupported.append(lacks)
            else:
                missing.append(lacks)
        if refused:
            self._wanted = [w for at, w in enumerate(self._wanted) if at not in refused]
        missing += self._unsupported


def _labels(field: Field, link: int | None) -> Labels:
    return field.labels if link is None else (*field.labels, ("link", str(link)))
