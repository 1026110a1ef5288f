"""What the values of each tensor are like: one pass over the files, in pieces that stay in the cache.

Exact over every element: smallest, largest, mean, standard deviation, NaN, infinities, zeros. From an even
sample of at most 65,536 elements: the kurtosis and the histogram. Spread is summed around each piece's own mean
and merged (Chan, Golub and LeVeque 1979), so that a gain of 1 +- 0.0001 keeps its digits in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.workers import PerThread, counted, finish, workers
from ckptconv.stores.tensor import FLOATS, Stored
from ckptconv.transfer.casting import Items, decode
from ckptconv.transfer.pieces import OpenFiles, Pieces

Values: TypeAlias = NDArray[Any]

ROW = 1024
"""Elements that are summed in float32 before float64 takes over: an error of 1e-6 at most."""
SAMPLE = 1 << 16
"""Elements at most for kurtosis and histogram: the kurtosis of normal values is then 3 +- 0.02."""
BINS = 32
LARGER = 2.0**100
"""A factor that takes no digit from the smallest numbers."""
SAFE = 1e-15, 1e15
"""Between these, the square of a distance is a normal float32."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one tensor's values are like; the figures are of its finite elements, NaN where there is none."""

    numel: int
    minimum: float
    maximum: float
    mean: float
    std: float
    """Root of the mean squared distance from the mean."""
    kurtosis: float
    """Fourth central moment over the square of the second: normal values 3, uniform ones 1.8. Of the sample."""
    nans: int
    infinities: int
    zeros: int
    sampled: int
    """Elements in the sample; all of a small tensor."""
    histogram: tuple[int, ...]
    """Elements of the sample in each of 32 equal bins from minimum to maximum; () where these are the same."""

    @property
    def finite(self) -> bool:
        """True where no element is NaN or infinite."""
        return not self.nans and not self.infinities

    @property
    def constant(self) -> bool:
        """True where every element is the same finite number."""
        return self.minimum == self.maximum and self.finite


def measure(
    tensors: Sequence[Stored], progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Statistics, ...]:
    """Read tensors and return what the values of each are like, in their order.

    Args: progress: called with bytes done and bytes to do, by one thread at a time.
    Raises: SourceError: a file cannot be read.
    """
    count = counted(progress, sum(tensor.spec.nbytes for tensor in tensors))
    buffers = PerThread(lambda: (Pieces(files), _Room()))

    def work(stored: Stored) -> Statistics:
        pieces, room = buffers.own
        tally = _Tally(stored.spec.numel, room)
        for piece in pieces.plain(stored):
            tally.add(_numbers(piece, stored.spec.dtype))
            count(piece.nbytes)
        return tally.result()

    with OpenFiles() as files, workers() as pool:
        return tuple(finish([pool.submit(work, stored) for stored in tensors]))


def _numbers(items: Items, dtype: str) -> Values:
    """Return raw items as numbers of at least float32; integers as float64, rounded beyond 2^53."""
    if dtype not in FLOATS:
        return items.view(dtype).astype(np.float64)
    numbers = decode(items, dtype)
    return numbers.astype(np.float32) if numbers.itemsize == 2 else numbers


class _Room:
    """Buffers that a thread keeps from one piece to the next."""

    def __init__(self) -> None:
        self._apart = np.empty(0, np.float32)
        self._is_zero = np.empty(0, np.bool_)
        self.ones = np.ones(ROW, np.float32)

    def apart(self, count: int) -> Values:
        """Return room for `count` float32, ended with zeros to whole rows."""
        padded = -(-count // ROW) * ROW
        if len(self._apart) < padded:
            self._apart = np.empty(padded, np.float32)
        self._apart[count:padded] = 0
        return self._apart[:padded]

    def zeros(self, values: Values) -> int:
        """Return how many values are 0 or -0."""
        if len(self._is_zero) < len(values):
            self._is_zero = np.empty(len(values), np.bool_)
        return int(np.count_nonzero(np.equal(values, 0, out=self._is_zero[: len(values)])))


class _Tally:
    """Adds up one tensor, piece by piece."""

    def __init__(self, numel: int, room: _Room) -> None:
        self._numel, self._room = numel, room
        self._step = (
            max(1, -(-numel // SAMPLE)) | 1
        )  # odd, so that no sample is one column of a table of 2^n
        self._seen = self._count = self._nans = self._infinities = self._zeros = 0
        self._minimum, self._maximum, self._mean, self._squares = inf, -inf, 0.0, 0.0
        self._sample: list[Values] = []

    def add(self, values: Values) -> None:
        """Add a piece."""
        with np.errstate(invalid="ignore"):  # a signalling NaN is one like any other
            self._sample.append(values[-self._seen % self._step :: self._step].astype(np.float64))
        self._seen += len(values)
        low, high = float(values.min()), float(values.max())
        if not (isfinite(low) and isfinite(high)):
            self._nans += int(np.count_nonzero(np.isnan(values)))
            self._infinities += int(np.count_nonzero(np.isinf(values)))
            values = values[np.isfinite(values)]
            if not len(values):
                return
            low, high = float(values.min()), float(values.max())
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        if low <= 0 <= high:
            self._zeros += self._room.zeros(values)
        self._merge(len(values), *self._moments(values, low, high))

    def _moments(self, values: Values, low: float, high: float) -> tuple[float, float]:
        """Return the mean, and the sum of squared distances from it."""
        if low == high:
            return low, 0.0
        if values.dtype == np.float32 and SAFE[0] < high - low and max(-low, high) < SAFE[1]:
            return self._quick(values)
        scale = max(-low, high)  # first, so that no square overflows or vanishes
        scaled = values.astype(np.float64) / scale
        mean = float(scaled.mean())
        return mean * scale, float(np.square(scaled - mean).sum()) * scale * scale

    def _quick(self, values: Values) -> tuple[float, float]:
        """Return the same of float32 values, summed in float32 along rows and in float64 over them."""
        apart, units = self._room.apart(len(values)), self._room.ones
        near = values[0]
        np.subtract(values, near, out=apart[: len(values)])
        mean = float(near) + float(
            np.vecdot(apart.reshape(-1, ROW), units).sum(dtype=np.float64)
        ) / len(values)
        np.subtract(values, np.float32(mean), out=apart[: len(values)])
        rows = apart.reshape(-1, ROW)
        rest = float(np.vecdot(rows, units).sum(dtype=np.float64)) / len(values)
        squares = float(np.vecdot(rows, rows).sum(dtype=np.float64))
        return float(np.float32(mean)) + rest, squares - rest * rest * len(values)

    def _merge(self, count: int, mean: float, squares: float) -> None:
        """Join a piece's moments with those of the pieces before."""
        together = self._count + count
        apart = mean - self._mean
        self._mean += apart * count / together
        self._squares += squares + apart * apart * self._count * count / together
        self._count = together

    def result(self) -> Statistics:
        """Return the figures of everything that was added."""
        some = self._count > 0
        sample = np.concatenate(self._sample) if self._sample else np.empty(0)
        sample = sample[np.isfinite(sample)]
        return Statistics(
            numel=self._numel,
            minimum=self._minimum if some else nan,
            maximum=self._maximum if some else nan,
            mean=self._mean if some else nan,
            std=sqrt(max(0.0, self._squares) / self._count) if some else nan,
            kurtosis=_kurtosis(sample),
            nans=self._nans,
            infinities=self._infinities,
            zeros=self._zeros,
            sampled=len(sample),
            histogram=_histogram(sample, self._minimum, self._maximum),
        )


def _kurtosis(sample: Values) -> float:
    """Return the kurtosis; NaN where all values are the same."""
    if not len(sample) or sample.min() == sample.max():
        return nan
    apart = sample / np.abs(sample).max()
    squares = np.square(apart - apart.mean())
    spread = float(squares.mean())
    return float(np.square(squares).mean()) / spread**2 if spread else nan


def _histogram(sample: Values, low: float, high: float) -> tuple[int, ...]:
    """Return how much of the sample lies in each bin."""
    if not low < high or not isfinite(high - low):
        return ()
    if not isfinite(
        BINS / (high - low)
    ):  # numbers below the normal ones, which a power of two makes larger exactly
        return _histogram(sample * LARGER, low * LARGER, high * LARGER)
    bins = np.minimum((sample - low) * (BINS / (high - low)), BINS - 1).astype(np.intp)
    return tuple(np.bincount(bins, minlength=BINS).tolist())
