"""Tensors in files, compared bit for bit, some pieces at a time; no framework."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from ckptconv.casting import Items, decode, raw_dtype
from ckptconv.errors import PlanError, Problem
from ckptconv.moves import Equality, Move
from ckptconv.pieces import OpenFiles, Pieces
from ckptconv.tensor import FLOATS, Stored, TensorSpec


@dataclass(frozen=True, slots=True)
class WeightDifference:
    """How a stored tensor differs from what it should be."""

    name: str
    differing: int
    """Elements whose bits differ."""
    numel: int
    worst: float
    """Largest absolute difference; infinite where a NaN or an infinity is on one side only."""

    def __str__(self) -> str:
        return f"{self.differing} of {self.numel} elements differ, by at most {self.worst:.2g}"


def compare_move(pieces: Pieces, files: OpenFiles, move: Move, found: Stored) -> WeightDifference | None:
    """Compare what a move would write with what is stored; None where every bit is the same."""
    return _compare(pieces.of(move), move.target, found, files)


def check_equal(equalities: Sequence[Equality]) -> None:
    """Compare the pairs that must hold the same bytes.

    Raises: PlanError: some do not; the message says how many elements differ, and by how much.
    """
    problems, path = [], ""
    with OpenFiles() as files:
        for pair in equalities:
            path = str(pair.second.path)
            if pair.first.spec.dtype != pair.second.spec.dtype:
                detail = f"{pair.second.spec.dtype}, but {pair.first.spec.name} is {pair.first.spec.dtype}; {pair.why}"
                problems.append(Problem(pair.kind, pair.second.spec.name, detail))
                continue
            if replace(pair.first, spec=pair.second.spec) == pair.second:
                continue  # the same bytes, read in the same way
            expected = (memoryview(piece).cast("B") for piece in Pieces(files).plain(pair.first))
            difference = _compare(expected, pair.first.spec, pair.second, files)
            if difference:
                detail = f"{difference}, from {pair.first.spec.name}; {pair.why}"
                problems.append(Problem(pair.kind, pair.second.spec.name, detail))
    if problems:
        raise PlanError(path, problems)


def _compare(
    expected: Iterator[memoryview], spec: TensorSpec, found: Stored, files: OpenFiles
) -> WeightDifference | None:
    """Compare bytes as they come; `found` must have the dtype and shape of `spec`."""
    differing, worst, start = 0, 0.0, 0
    reader = _Sequential(found, files)
    for piece in expected:
        one = np.frombuffer(piece, raw_dtype(spec.dtype))
        other = reader.take(len(piece), start).view(one.dtype)
        start += len(piece)
        if np.array_equal(one, other):
            continue
        unequal = one != other
        differing += int(np.count_nonzero(unequal))
        worst = max(worst, _farthest(one[unequal], other[unequal], spec.dtype))
    return WeightDifference(found.spec.name, differing, spec.numel, worst) if differing else None


class _Sequential:
    """Reads a stored tensor in pieces of any length; a view that is not row-major is held whole."""

    def __init__(self, stored: Stored, files: OpenFiles) -> None:
        self._stored, self._files = stored, files
        self._buffer = np.empty(0, np.uint8)
        self._whole = None
        if stored.strides is not None:
            parts = [piece.copy() for piece in Pieces(files).plain(stored)]
            self._whole = np.concatenate(parts).view(np.uint8)

    def take(self, nbytes: int, start: int) -> Items:
        if self._whole is not None:
            return self._whole[start : start + nbytes]
        if len(self._buffer) < nbytes:
            self._buffer = np.empty(nbytes, np.uint8)
        buffer = self._buffer[:nbytes]
        self._files.read_into(self._stored, start, memoryview(buffer))
        return buffer


def _farthest(one: Items, other: Items, dtype: str) -> float:
    """Return the largest absolute difference of two runs of raw items."""
    if dtype not in FLOATS:
        return inf
    with np.errstate(all="ignore"):
        apart = np.abs(decode(one, dtype).astype(np.float64) - decode(other, dtype))
    return float(np.max(np.where(np.isnan(apart), inf, apart)))
