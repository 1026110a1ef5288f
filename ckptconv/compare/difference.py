"""Two arrays -> how far they are apart. NaN equals nothing, shapes must match, nothing is not compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far `found` is from a reference, over all elements."""

    compared: int
    """Elements."""
    differing: int
    """Elements that are not equal; a NaN on either side is never equal."""
    worst: float
    """Largest absolute difference; infinite where either side has a NaN."""
    where: tuple[int, ...]
    """Index of the worst element (the first NaN, if there is one)."""
    rms: float
    """Root of the mean squared difference; infinite where either side has a NaN."""
    reference_rms: float
    """Root of the mean square of the reference, over its finite elements."""
    reference_max: float
    """Largest magnitude of the reference, over its finite elements."""
    nans: int
    """Elements that are NaN on either side."""

    @property
    def relative(self) -> float:
        """RMS difference over the RMS of the reference; infinite against a reference of zeros."""
        if self.rms == 0:
            return 0.0
        return self.rms / self.reference_rms if self.reference_rms else float("inf")


def difference(actual: Array, reference: Array) -> Difference:
    """Compare two arrays of real numbers of the same shape, in float64.

    Equal infinities are equal. Integers beyond 2**53 lose bits here.

    Raises: ValueError: the shapes differ, or there is nothing to compare.
    """
    _require_comparable(actual, reference)
    left, right = np.asarray(actual, np.float64), np.asarray(reference, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(left == right, 0.0, np.abs(left - right))
        apart[np.isnan(apart)] = np.inf
        rms = _rms(apart)
    where = np.unravel_index(int(np.argmax(apart)), apart.shape)
    return Difference(
        compared=int(apart.size),
        differing=int(np.count_nonzero(apart)),
        worst=float(apart[where]),
        where=tuple(int(n) for n in where),
        rms=rms,
        reference_rms=_rms(right[np.isfinite(right)]),
        reference_max=float(np.max(np.abs(right[np.isfinite(right)]), initial=0.0)),
        nans=int(np.count_nonzero(np.isnan(left) | np.isnan(right))),
    )


def _require_comparable(actual: Array, reference: Array) -> None:
    if actual.shape != reference.shape:
        raise ValueError(
            f"shape {list(actual.shape)} cannot be compared to {list(reference.shape)}"
        )
    if actual.size == 0:
        raise ValueError("there is nothing to compare")


def _rms(values: Array) -> float:
    """Return the root mean square, scaled first so that squares neither overflow nor vanish."""
    scale = float(np.max(np.abs(values), initial=0.0))
    if scale == 0.0 or not np.isfinite(scale):
        return scale
    return scale * float(np.sqrt(np.mean(np.square(values / scale))))
