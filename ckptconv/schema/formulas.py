"""Tensors whose values follow from their shape: one framework's class stores them, another's computes them.

Each formula is computed in float64 unless its PyTorch class computes in float32, and rounded to float32 once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ckptconv.base.lazy_module import LazyModule

if TYPE_CHECKING:
    import numpy as np
else:  # for who asks for type hints: schemas are read without it
    np = LazyModule("numpy")

FormulaValues: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]"

BASE = 10000.0
"""Of the wavelengths."""


class Formula(Protocol):
    """How values follow from a shape."""

    def values(self, shape: tuple[int, ...]) -> FormulaValues:
        """Return the tensor, float32 or int64, in PyTorch's order of axes."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class Zeros:
    """Zeros throughout."""

    def values(self, shape: tuple[int, ...]) -> FormulaValues:
        """Return zeros."""
        return np.zeros(shape, np.float32)


@dataclass(frozen=True, slots=True)
class Sinusoids:
    """Positions as sines, then cosines, of wavelengths from 2 pi to 10000 times that.

    Source: transformers 4.57.6, `MarianSinusoidalPositionalEmbedding._init_weight` and Pegasus's copy of it.
    """

    def values(self, shape: tuple[int, ...]) -> FormulaValues:
        """Return a table of (positions, width); an odd width has one sine more than cosines."""
        rows, width = shape
        columns = np.arange(width)
        angles = np.arange(rows)[:, None] / np.power(BASE, 2 * (columns // 2) / width)
        return np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], 1).astype(
            np.float32
        )


@dataclass(frozen=True, slots=True)
class OffsetSinusoids:
    """Positions as sines, then cosines, whose largest wavelength is 10000 times 2 pi, from row `first` on.

    Source: transformers 4.57.6, `M2M100SinusoidalPositionalEmbedding.get_embedding`, which computes in float32.
    """

    first: int = 0

    def values(self, shape: tuple[int, ...]) -> FormulaValues:
        """Return a table of (positions, width); the last column of an odd width is zero."""
        rows, width = shape
        half = width // 2
        step = np.float32(-math.log(BASE) / (half - 1))
        waves = np.exp(np.arange(half, dtype=np.float32) * step, dtype=np.float32)
        angles = np.arange(self.first, self.first + rows, dtype=np.float32)[:, None] * waves
        table = np.zeros((rows, width), np.float32)
        table[:, :half] = np.sin(angles, dtype=np.float32)
        table[:, half : 2 * half] = np.cos(angles, dtype=np.float32)
        return table


@dataclass(frozen=True, slots=True)
class WindowDistances:
    """For each two patches of a window, which row of a table is their distance.

    Source: transformers 4.57.6, `SwinSelfAttention`.
    """

    high: int
    """Patches along a window's height."""
    wide: int

    def values(self, shape: tuple[int, ...]) -> FormulaValues:
        """Return row numbers of (query, key), int64; patches are numbered along the width first."""
        rows, columns = np.divmod(np.arange(self.high * self.wide), self.wide)
        down = rows[:, None] - rows + self.high - 1
        across = columns[:, None] - columns + self.wide - 1
        table: FormulaValues = (down * (2 * self.wide - 1) + across).reshape(shape).astype(np.int64)
        return table
