"""The kinds of difference between two tensors, and the figures that go with each."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "cast",
    "rounded",
    "transposed",
    "swapped",
    "copied",
    "scaled",
    "negated",
    "shifted",
    "permuted",
    "row",
    "element",
    "bit",
    "zeros",
    "constant",
    "initialised",
    "untied",
    "changed",
    "shape",
    "only in A",
    "only in B",
]


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a tensor is from another of the same shape, over all elements."""

    differing: int
    """Elements whose bits differ; whose values differ where the dtypes do."""
    numel: int
    worst: float
    """Largest absolute difference; infinite where a NaN or an infinity is on one side only."""
    rms: float
    """Root of the mean squared difference, over what is finite on both sides."""
    reference_rms: float
    """Root of the mean square of what was expected, over the same elements."""
    cosine: float
    """Of the angle between the two, seen as vectors; NaN against zeros."""

    @property
    def relative(self) -> float:
        """RMS difference over the RMS of what was expected; infinite against zeros."""
        if self.rms == 0:
            return 0.0
        return self.rms / self.reference_rms if self.reference_rms else inf

    def __str__(self) -> str:
        return f"{self.differing} of {self.numel} elements differ, by at most {self.worst:.2g}"


@dataclass(frozen=True, slots=True)
class Relation:
    """How one tensor came of another, as far as the values tell."""

    kind: Kind
    detail: str
    """One line: what happened, with names, indices and values."""
    figures: Figures | None = None
    """None where there is nothing to compare."""

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class Sums:
    """What adds up to figures, piece by piece and tensor by tensor; in float64."""

    differing: int = 0
    numel: int = 0
    worst: float = 0.0
    apart: float = 0.0
    """Sum of the squared differences."""
    reference: float = 0.0
    """Sum of the squares of what was expected."""
    found: float = 0.0
    """Sum of the squares of what was found."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.differing + other.differing,
            self.numel + other.numel,
            max(self.worst, other.worst),
            self.apart + other.apart,
            self.reference + other.reference,
            self.found + other.found,
        )

    @property
    def figures(self) -> Figures:
        """Return the figures of all that was added."""
        count = max(self.numel, 1)
        both = sqrt(self.reference) * sqrt(self.found)
        cosine = (self.reference + self.found - self.apart) / (2 * both) if both else nan
        return Figures(
            self.differing,
            self.numel,
            self.worst,
            sqrt(self.apart / count),
            sqrt(self.reference / count),
            max(-1.0, min(1.0, cosine)) if cosine == cosine else nan,
        )
