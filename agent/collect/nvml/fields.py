"""Many values of a GPU in one call: ``nvmlDeviceGetFieldValues``, less what it does not support."""

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.collect.nvml import errors
from agent.collect.nvml.queries import Field
from agent.collect.reading import Labels, Missing, Reading
from core.target import Target

_CALL = "nvmlDeviceGetFieldValues"
# nvmlValueType_t -> the member of the union that holds the value.
_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
_WORD = 8  # bytes


class FieldBatch:
    """Fields of one GPU; each with the number of the link that it is asked for, or None.

    Most of them count errors and stand still: what is as it was is the same reading, and its answer
    is not looked into.
    """

    def __init__(
        self, nvml: Any, target: Target, wanted: Iterable[tuple[Field, int | None]]
    ) -> None:
        self._nvml, self._target = nvml, target
        self._wanted = [(field, link, _labels(field, link)) for field, link in wanted]
        self._unsupported: list[Missing] = []
        self._asked: Any = None  # the structures that the driver fills in; None: to be made
        self._before: NDArray[np.uint64] = np.empty((0, 2), np.uint64)
        self._found: dict[int, Reading | Missing] = {}  # by the place in ``_wanted``

    def read(self, handle: Any, readings: list[Reading], missing: list[Missing]) -> None:
        """Add what the GPU says; raises NVMLError where it does not answer at all."""
        if self._wanted:
            self._ask(handle)
            self._leave_out(self._look())
        readings += (each for each in self._found.values() if isinstance(each, Reading))
        missing += (each for each in self._found.values() if isinstance(each, Missing))
        missing += self._unsupported

    def _ask(self, handle: Any) -> None:
        if self._asked is None:
            asked = [f.id if link is None else (f.id, link) for f, link, _ in self._wanted]
            self._asked = self._nvml.nvmlDeviceGetFieldValues(handle, asked)
            self._before = ~_answers(self._asked)  # so that each is another than before
            self._found = {}
            return
        # nvidia-ml-py's own call would make the structures anew: a fifth of all that a GPU costs.
        ask = self._nvml.nvmlLib.nvmlDeviceGetFieldValues
        if code := ask(handle, len(self._wanted), ctypes.byref(self._asked)):
            raise self._nvml.NVMLError(code)

    def _look(self) -> frozenset[int]:
        """Read the answers that are not as they were; return the places of those never to come."""
        now, refused = _answers(self._asked), set()
        for place in np.flatnonzero((now != self._before).any(axis=1)).tolist():
            self._found[place] = self._read(place)
            if self._asked[place].nvmlReturn in errors.LASTING:
                refused.add(place)
        self._before = now
        return frozenset(refused)

    def _read(self, place: int) -> Reading | Missing:
        (field, _, labels), value = self._wanted[place], self._asked[place]
        if value.nvmlReturn == 0:
            number = getattr(value.value, _MEMBERS[value.valueType])
            return Reading(field.metric, self._target, number * field.unit, labels)
        error = self._nvml.NVMLError(value.nvmlReturn)
        if value.nvmlReturn in errors.LOST | errors.UNLOADED:
            raise error
        return Missing(field.metric, self._target, f"{_CALL}: field {field.id}: {error}")

    def _leave_out(self, refused: frozenset[int]) -> None:
        """Ask no more for these."""
        if refused:
            lacking = [self._found.pop(place) for place in sorted(refused)]
            self._unsupported += [each for each in lacking if isinstance(each, Missing)]
            self._wanted = [w for at, w in enumerate(self._wanted) if at not in refused]
            self._asked = None


def _answers(asked: Any) -> NDArray[np.uint64]:
    """Return (F, 2): of each field type and error as one number, and the value's eight bytes."""
    of = type(asked[0])
    words = np.frombuffer(asked, np.uint64).reshape(len(asked), -1)
    return words[:, [of.valueType.offset // _WORD, of.value.offset // _WORD]]


def _labels(field: Field, link: int | None) -> Labels:
    return field.labels if link is None else (*field.labels, ("link", str(link)))
