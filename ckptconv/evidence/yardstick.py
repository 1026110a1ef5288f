"""When is a difference an error? The yardstick, and what running both models showed.

The yardstick is PyTorch's own rounding: its float32 answer against its float64 answer, from the same
weights. A faithful conversion is as far from float64 as PyTorch itself is, give or take the order of
its additions; a wrong one is hundreds of times further. So the rule needs no tolerance that depends
on the model: error <= FACTOR x yardstick, for the mean and for the worst element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ckptconv.compare import Difference
from ckptconv.evidence.children import Answer

Side: TypeAlias = Literal["source", "target"]

RMS_FACTOR = 8.0
"""How many times the yardstick an RMS error may be."""
MAX_FACTOR = 16.0
"""The same for the worst element, which scatters more."""

RESULTS = ("encoder.last", "logits")
"""What both sides must answer; a class may keep the states in between to itself."""

EPSILON = float(np.finfo(np.float32).eps)
"""Floor of the yardstick, relative to the RMS of the reference: some quantities (a sum of two table
rows) happen to be almost exact in PyTorch, and no other framework has to be as lucky."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of one probe, on both sides, against the float64 reference."""

    probe: str
    name: str
    source: Difference | None
    """Source against reference, over valid positions; None where it cannot be compared."""
    target: Difference | None
    yardstick: Side
    """Which side's error is the yardstick: the one that PyTorch runs."""
    problem: str = ""
    """Why it cannot be compared: a shape."""

    @property
    def ratios(self) -> tuple[float, float]:
        """Error over yardstick, as RMS and at the worst element; infinite where nothing was compared."""
        if self.source is None or self.target is None:
            return float("inf"), float("inf")
        sides = (self.source, self.target)
        ruler, judged = sides if self.yardstick == "source" else sides[::-1]
        floor = max(EPSILON * ruler.reference_rms, float(np.finfo(np.float64).tiny))
        return judged.rms / max(ruler.rms, floor), judged.worst / max(ruler.worst, floor)

    @property
    def matches(self) -> bool:
        """True where both ratios are within their factors and neither side has a NaN."""
        if self.source is None or self.target is None or self.source.nans or self.target.nans:
            return False
        if not np.isfinite(self.source.worst) or not np.isfinite(self.target.worst):
            return False
        rms, worst = self.ratios
        return rms <= RMS_FACTOR and worst <= MAX_FACTOR


@dataclass(frozen=True, slots=True)
class TokenReport:
    """Greedy generation, token by token."""

    rows: int
    compared: int
    """Tokens after the start token, over all rows."""
    distinct: int
    """Different tokens that the source generated; 1 proves little."""
    mismatch: tuple[int, int, int, int] | None
    """The first: row, position after the start token, source's token, target's (-1: already ended)."""


@dataclass(frozen=True, slots=True)
class ForwardReport:
    """What running both models showed."""

    quantities: tuple[Quantity, ...]
    """In the order of the data flow, probe by probe."""
    tokens: TokenReport | None
    texts: tuple[tuple[str, str, str], ...]
    """Text, the source's answer, the target's answer."""
    loading: tuple[str, ...]
    """Tensors that the target's class missed, did not expect, or found in another shape."""
    notices: tuple[str, ...]
    source: Answer
    target: Answer

    @property
    def matches(self) -> bool:
        """True where everything that was compared matches."""
        return (
            bool(self.quantities)
            and all(one.matches for one in self.quantities)
            and (self.tokens is None or self.tokens.mismatch is None)
            and all(source == target for _, source, target in self.texts)
            and not self.loading
        )
