"""Matrix products in pieces that stay on the calling thread, whatever the machine's settings.

OpenBLAS shares a product of more than 2^18 multiply-adds among all cores, which then spin for some
26 ms in case there is more to do; at 64 x 1,440 x 35 that took 12 times the CPU time of one core
(measured, 2 cores). Pieces below that size stay alone, and they make a row's result independent of
how many rows there are.
"""

import numpy as np

from core.types import Floats

ROWS = 64  # of a block: 64 x 1,440 doubles are 0.7 MB and stay in the processor's cache
_ALONE = 2**18  # GEMM_MULTITHREAD_THRESHOLD x SMP_THRESHOLD_MIN: OpenBLAS, interface/gemm.c
_ALONE_VECTOR = 9000  # entries of a matrix times a vector: 2304 x the same: interface/gemv.c


class Sliced:
    """A matrix (T, p) cut along T, for many products with blocks of ROWS rows.

    length: T, padded with zeros to whole slices
    """

    def __init__(self, matrix: Floats) -> None:
        rows, width = matrix.shape
        step = max(1, min(rows, _ALONE // (ROWS * max(width, 1))))
        slices = -(-rows // step)
        padded = np.zeros((slices * step, width))
        padded[:rows] = matrix
        self.length = slices * step
        self._shape = (ROWS, slices, step)
        self._down = padded.reshape(slices, step, width)
        self._across = np.ascontiguousarray(self._down.transpose(0, 2, 1))

    def project(self, block: Floats) -> Floats:
        """Return block @ matrix: (ROWS, length) to (ROWS, p)."""
        pieces = block.reshape(self._shape).transpose(1, 0, 2) @ self._down
        return np.asarray(pieces.sum(axis=0))

    def expand(self, weights: Floats, out: Floats) -> None:
        """Write weights @ matrix' to ``out``: (ROWS, p) to (ROWS, length)."""
        np.matmul(weights, self._across, out=out.reshape(self._shape).transpose(1, 0, 2))


def gram(matrix: Floats) -> Floats:
    """Return matrix' @ matrix: (T, p) to (p, p)."""
    rows, width = matrix.shape
    step = max(1, min(rows, _ALONE // max(width * width, 1)))
    slices = -(-rows // step)
    padded = np.zeros((slices * step, width))
    padded[:rows] = matrix
    pieces = padded.reshape(slices, step, width)
    return np.asarray((pieces.transpose(0, 2, 1) @ pieces).sum(axis=0))


def triangle(matrix: Floats) -> Floats:
    """Return R of the QR decomposition of (T, p), found slice by slice: (p, p), T >= p or not."""
    width = matrix.shape[1]
    step = max(2 * width, _ALONE_VECTOR // max(width, 1))
    while True:
        slices = -(-max(len(matrix), width) // step)
        step = min(step, max(len(matrix), width))
        padded = np.zeros((slices * step, width))
        padded[: len(matrix)] = matrix
        each = np.asarray(np.linalg.qr(padded.reshape(slices, step, width), mode="r"))
        matrix = each.reshape(-1, width)
        if slices == 1:
            return matrix


def expanded(weights: Floats, matrix: Floats) -> Floats:
    """Return weights @ matrix': (S, p) and (H, p) to (S, H)."""
    sliced = Sliced(matrix)
    out = np.empty((len(weights), len(matrix)))
    block, some = np.empty((ROWS, sliced.length)), np.zeros((ROWS, weights.shape[1]))
    for start in range(0, len(weights), ROWS):
        part = weights[start : start + ROWS]
        some[: len(part)] = part
        sliced.expand(some, block)
        out[start : start + ROWS] = block[: len(part), : len(matrix)]
    return out
