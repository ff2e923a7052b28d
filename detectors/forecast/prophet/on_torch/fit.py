"""Fit and forecast many series on a torch device, a chunk of them at a time.

A chunk is uploaded once, in the precision it is stored in; statistics, solve and residuals are
worked out there, and some 700 bytes a series come back. Series with readings missing have Gram
matrices of their own and are solved by the compiled path on the processor from their statistics, as
are those that do not move.

Memory on the device: 3 x 8 bytes a reading and 48 (P + K)^2 bytes a series of the chunk, 93 kB at
1,440 readings and 35 columns; 131,072 series take 12 GB. A smaller GPU gets smaller chunks, of at
most half of what is free. Readings that already lie there (1,000,000 x 1,440 floats: 5.8 GB) are
not copied as a whole, and more than fit there are taken from an array or tensor in main memory.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.types import Floats
from detectors.forecast.prophet.batch import Found, Problem, Status, fit_moments
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.fitted import FleetFit
from detectors.forecast.prophet.gram import whitened
from detectors.forecast.prophet.inputs import as_values
from detectors.forecast.prophet.moments import LEAST_RANGE, Moments, Values, check_shape
from detectors.forecast.prophet.on_torch.device import resolved, torch_device
from detectors.forecast.prophet.on_torch.moments import Block, gather, persistence
from detectors.forecast.prophet.on_torch.path import follow_paths
from detectors.forecast.prophet.on_torch.polish import polish
from detectors.forecast.prophet.on_torch.problem import Shared, Targets, at_least_one, shared_of
from detectors.forecast.prophet.settings import ProphetSettings, Scaling

_MOST = 131_072  # series of a chunk on a GPU: enough to fill it, few enough launches
_CHUNK = 4096  # on the processor


class _Part(NamedTuple):
    """What fits the series of a chunk, as in ``FleetFit``."""

    found: Found
    moments: Moments
    floor: Floats
    scale: Floats
    newest: Floats
    persistence: Floats
    residual: Floats


class _OnDevice(NamedTuple):
    """What all series share, on the device.

    turn: (P, P) of the spectrum;  rows, plain: (T, P + K) whitened design and as it is
    whiten: (P, P) V;  offset: (P,) V' L e_m
    """

    shared: Shared
    turn: Tensor
    rows: Tensor
    plain: Tensor
    whiten: Tensor
    offset: Tensor


def fit_on(device: str, settings: ProphetSettings, design: Design, values: Any) -> FleetFit:
    """Return the fit of values (S, T), an array or a tensor, under a linear, additive model.

    device: as ``device_of`` takes it
    """
    readings = values if isinstance(values, Tensor) else as_values(values)
    check_shape(readings, design.time_s)
    basis = whitened(design)
    problem = Problem(design, basis, basis.spectrum(), np.empty(0), np.empty(0))
    there = _moved(problem, torch_device(device))
    parts = [
        _fit_chunk(problem, settings.scaling, there, chunk) for chunk in _chunks(readings, there)
    ]
    found = (np.concatenate(each) for each in zip(*(part.found for part in parts), strict=True))
    floor, scale, newest, lasting, residual = (
        np.concatenate(each) for each in zip(*(part[2:] for part in parts), strict=True)
    )
    moments = _joined([part.moments for part in parts])
    return FleetFit(
        settings=settings,
        design=design,
        dtype=np.dtype(np.float32 if "float32" in str(readings.dtype) else np.float64),
        **Found(*found)._asdict(),
        floor=floor,
        scale=scale,
        cap=np.zeros(len(floor)),
        readings=moments.readings.astype(np.int64),
        newest=newest,
        persistence=lasting if settings.ar else np.zeros(len(floor)),
        residual=residual if settings.ar else np.zeros(len(floor)),
        moments=moments,
        basis=basis,
        device=resolved(device),
    )


def _moved(problem: Problem, device: torch.device) -> _OnDevice:
    """Return what all series share on the device."""
    design, basis, spectrum = problem.design, problem.basis, problem.shared
    arrays = spectrum.turn[0], basis.rows, design.rows(design.time_s), basis.whiten, basis.offset
    moved = (torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in arrays)
    return _OnDevice(shared_of(spectrum.quadratic, device), *moved)


def _chunks(values: "Values | Tensor", there: _OnDevice) -> Iterator[Tensor]:
    """Yield (N, T) series in double precision on the device."""
    device, (length, width) = there.rows.device, there.rows.shape
    size = _chunk_size(device, length, width)
    for start in range(0, max(len(values), 1), size):
        part = values[start : start + size]
        if not isinstance(part, Tensor):
            # torch warns of arrays that may not be written to.
            part = torch.from_numpy(part if part.flags.writeable else part.copy())
        # First there, then doubled: half the bytes to upload. A copy, since it is used up.
        yield part.to(device).to(torch.float64, copy=True)


def _chunk_size(device: torch.device, length: int, width: int) -> int:
    """Return how many series are worked on at once."""
    if device.type != "cuda":
        return _CHUNK
    free = torch.cuda.mem_get_info(device)[0]
    # What torch has put by from earlier calls is free to us too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(_MOST, free // 2 // (24 * length + 48 * width * width)))


def _fit_chunk(problem: Problem, scaling: Scaling, there: _OnDevice, value: Tensor) -> _Part:
    """Return the fit of one chunk (N, T), which is used up."""
    newest = value[:, -1].clone().cpu().numpy()
    block = gather(value, there.rows)
    moments = block.moments()
    floor, scale = moments.scaling(scaling)
    found = _solve(problem._replace(floor=floor, scale=scale), moments, there, block)
    weight = there.plain.new_tensor(found.coefficients * scale[:, np.newaxis])
    shift = there.plain.new_tensor(moments.middle - floor)
    lasting, residual = persistence(block, there.plain, weight, shift)
    fitted = found.status == Status.FITTED
    return _Part(
        found,
        moments,
        floor,
        scale,
        newest,
        np.where(fitted, lasting.cpu().numpy(), 0.0),
        np.where(fitted, residual.cpu().numpy() / scale, 0.0),
    )


def _solve(problem: Problem, moments: Moments, there: _OnDevice, block: Block) -> Found:
    """Solve what is complete and moves on the device, all else by the compiled path."""
    whole = moments.high - moments.low > LEAST_RANGE
    whole[moments.gapped] = False
    rest = np.flatnonzero(~whole)
    few = problem._replace(floor=problem.floor[rest], scale=problem.scale[rest])
    others = fit_moments(few, moments.rows(rest))
    found = _maximise(problem, whole, there, block)
    pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]] = zip(found, others, strict=True)
    return Found(*(_merged(whole, *pair) for pair in pairs))


def _merged(whole: NDArray[np.bool_], inside: NDArray[Any], outside: NDArray[Any]) -> NDArray[Any]:
    """Return rows from ``inside`` where ``whole``, else from ``outside``."""
    both = np.empty((len(whole), *inside.shape[1:]), dtype=outside.dtype)
    both[whole], both[~whole] = inside, outside
    return both


def _maximise(problem: Problem, whole: NDArray[np.bool_], there: _OnDevice, block: Block) -> Found:
    """Return the MAP of the series of a chunk that are complete."""
    design = problem.design
    scale, floor = (there.plain.new_tensor(each[whole]) for each in (problem.scale, problem.floor))
    some = torch.from_numpy(whole).to(scale.device)
    centre = (block.middle[some] - floor) / scale
    cross = block.cross[some] / scale[:, None]
    targets = Targets(
        smooth=cross[:, : design.smooth] @ there.turn,
        knots=at_least_one(cross[:, design.smooth :]),
        square=block.square[some] / scale.square(),
        readings=block.readings[some],
        offset=centre[:, None] * (there.offset @ there.turn),
    )
    start = follow_paths(there.shared, targets, design.tau)
    solution = polish(there.shared, targets, design.tau, start)
    smooth = solution.whitened @ (there.whiten @ there.turn).T
    smooth[:, design.offset_column] += centre
    knots = solution.knots[:, : design.width - design.smooth]
    return Found(
        coefficients=torch.cat([smooth, knots], dim=1).cpu().numpy(),
        sigma=solution.variance.sqrt().cpu().numpy(),
        loss=solution.loss.cpu().numpy(),
        status=np.full(int(whole.sum()), Status.FITTED, dtype=np.int8),
        rounds=solution.rounds.cpu().numpy(),
    )


def _joined(parts: list[Moments]) -> Moments:
    """Return the statistics of all chunks."""
    names = ("middle", "cross", "square", "readings", "low", "high", "present")
    together = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    first = np.cumsum([0, *(len(part.middle) for part in parts)])
    gapped = [part.gapped + start for part, start in zip(parts, first, strict=False)]
    return Moments(**together, gapped=np.concatenate(gapped))
