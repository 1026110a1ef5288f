"""When is a difference an error? The yardstick, and one quantity held against it.

The yardstick is PyTorch's own rounding: its float32 answer against its float64 answer, from the same
weights. A faithful conversion is as far from float64 as PyTorch itself is, give or take the order of
its additions; a wrong one is hundreds of times further. So the rule needs no tolerance that depends
on the model: error <= FACTOR x yardstick, for the mean and for the worst element.

The factors were measured, not chosen: every pair that TF or Flax can hold (`tests/pairs.py`, one model each,
3,866 quantities; CPU, transformers 4.57.6). Ratios of honest conversions, 99 in 100 below the first number:

                              TF (44 pairs)                Flax (26 pairs)
                              RMS           worst          RMS           worst
    states, encoder           1.20   1.31   1.68   2.09    1.33   1.45   2.10   2.23
    states, decoder           1.27   1.44   1.85   2.63    1.18   1.42   1.85   2.52
    self-attention            1.46   1.79   2.03   2.97    1.29   1.43   1.92   2.29
    cross-attention           1.45   1.75   2.10   2.78    1.47   1.66   2.00   2.23
    logits                    1.33   1.45   2.11   2.45    1.22   1.37   1.90   1.95
    logits of cached steps    1.44   1.48   1.69   1.69    1.44   1.48   2.46   2.65
    loss                      0.98   1.09   0.98   1.09    0.33   0.33   0.33   0.33

TF once more with other weights (45 pairs, 2,734 quantities): at most 2.04 and 2.73. They do not grow with the
length: at 512 tokens CTRL, XGLM, GPT-J, RoFormer and DeBERTa-v2 in TF, XGLM, GPT-J and LLaMA in Flax stay at 1.2
and 1.9 at most, since the reference makes tables of sines in float64 as well (`frameworks/pytorch.py`). PyTorch's own
error was at most 2.7e-6 of a quantity. A single number, the loss, is right by luck as often as not: its
yardstick is at least the RMS error of the logits that it is the mean of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ckptconv.base.arguments import require_number
from ckptconv.compare.difference import Difference

Side: TypeAlias = Literal["source", "target"]

RMS_FACTOR = 4.0
"""How many times the yardstick an RMS error may be: about twice what any honest conversion needed."""
MAX_FACTOR = 8.0
"""The same for the worst element, which scatters more."""

RESULTS = ("encoder.last", "logits")
"""What all sides must answer; a class may keep the states in between to itself."""

EPSILON = float(np.finfo(np.float32).eps)
"""Floor of the yardstick, relative to the RMS of the reference: some quantities (a sum of two table
rows) happen to be almost exact in PyTorch, and no other framework has to be as lucky."""

LOOSE = 1e-2
"""A yardstick that is so large, relative to the RMS of the reference, measures nothing: PyTorch's float32 is no
answer to this model then, or its cached steps are not what its full pass says."""

KINDS = {"attention": "self-attention", "cross": "cross-attention"}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a user allows instead: |error| <= atol + rtol * |largest value of the reference|, for every element."""

    atol: float
    rtol: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no tolerance. Raises UsageError."""
        require_number("atol", self.atol)
        require_number("rtol", self.rtol)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of one probe, on both sides, against the float64 reference."""

    probe: str
    name: str
    """`encoder.0`, `encoder.1.attention`, ..., `decoder.2.cross`, `logits`, `loss`, `cached`; see frameworks."""
    source: Difference | None
    """Source against reference, over what is valid; None where it cannot be compared."""
    target: Difference | None
    own: Difference | None
    """PyTorch's float32 against its float64."""
    judged: tuple[Side, ...]
    """The sides that are held against the yardstick: those that do not give it."""
    floor: float = 0.0
    """Least yardstick."""
    tolerance: Tolerance | None = None
    problem: str = ""
    """Why it cannot be compared: a shape."""

    @property
    def part(self) -> Literal["encoder", "decoder"]:
        """Whose it is; logits, loss and cached steps are the decoder's."""
        return "encoder" if self.name.startswith("encoder.") else "decoder"

    @property
    def layer(self) -> int | None:
        """Number of the layer, 0 for the embeddings; None for what the whole side gives."""
        number = self.name.split(".")[1:2]
        return int(number[0]) if number and number[0].isdigit() else None

    @property
    def kind(self) -> str:
        """What it is, in words: `encoder states`, `decoder self-attention`, `logits` ..."""
        _, *rest = self.name.split(".")
        if not rest:
            return {"cached": "cached logits"}.get(self.name, self.name)
        return f"{self.part} {KINDS.get(rest[-1], 'states')}"

    @property
    def errors(self) -> tuple[Difference, ...]:
        """The errors of the sides that are judged; () where they cannot be."""
        by_side = {"source": self.source, "target": self.target}
        errors = tuple(error for side in self.judged if (error := by_side[side]) is not None)
        return errors if len(errors) == len(self.judged) else ()

    @property
    def ratios(self) -> tuple[float, float]:
        """Error over yardstick, as RMS and at the worst element; infinite where nothing was compared."""
        if self.own is None or not self.errors:
            return float("inf"), float("inf")
        floor = max(EPSILON * self.own.reference_rms, self.floor, float(np.finfo(np.float64).tiny))
        rms, worst = (
            max(error.rms for error in self.errors),
            max(error.worst for error in self.errors),
        )
        return rms / max(self.own.rms, floor), worst / max(self.own.worst, floor)

    @property
    def matches(self) -> bool:
        """True where both ratios are within their factors, or the tolerance holds, and neither side has a NaN."""
        if self.problem or self.own is None or not self.errors:
            return False
        if any(error.nans or not np.isfinite(error.worst) for error in (self.own, *self.errors)):
            return False
        if self.tolerance:
            allowed = self.tolerance.atol + self.tolerance.rtol * self.own.reference_max
            return all(error.worst <= allowed for error in self.errors)
        rms, worst = self.ratios
        return rms <= RMS_FACTOR and worst <= MAX_FACTOR and self.own.relative <= LOOSE
