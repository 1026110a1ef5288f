"""Generated tokens, one by one: the same, or apart by less than the noise, or a mismatch.

Two right models may choose different tokens only where the best ones are so near each other that rounding
decides. So where the sides part, PyTorch's float64 says how far apart their choices are, and the yardstick
at that very step says how far float32 may be off. After a tie nothing is compared: the texts go on apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.answers import Answer
from ckptconv.run.runners import Array
from ckptconv.run.yardstick import EPSILON, MAX_FACTOR


@dataclass(frozen=True, slots=True)
class Fork:
    """The first step of a row at which not all sides chose one token."""

    row: int
    step: int
    """After the start token."""
    source: int
    """Token; -1: the row had already ended."""
    target: int
    gap: float
    """How far apart the choices are in float64: logits of a greedy search, log-probabilities of a beam search."""
    noise: float
    """How far float32 may be off there."""

    @property
    def is_tie(self) -> bool:
        """True where rounding may choose."""
        return self.gap <= self.noise


@dataclass(frozen=True, slots=True)
class Generation:
    """What both sides generated from the probes, with the same settings."""

    name: str
    settings: Mapping[str, Json]
    source: tuple[tuple[int, ...], ...]
    """Tokens of each row after the start token, the end included."""
    target: tuple[tuple[int, ...], ...]
    forks: tuple[Fork, ...]

    @property
    def rows(self) -> int:
        """Rows that were generated."""
        return len(self.source)

    @property
    def compared(self) -> int:
        """Tokens of the source that were compared: all of a row, or those before its fork and the one there."""
        steps = {fork.row: fork.step + 1 for fork in self.forks}
        return sum(
            min(len(tokens), steps.get(row, len(tokens))) for row, tokens in enumerate(self.source)
        )

    @property
    def distinct(self) -> int:
        """Different tokens that the source generated; 1 proves little."""
        return len({token for row in self.source for token in row})

    @property
    def mismatches(self) -> tuple[Fork, ...]:
        """Forks that rounding does not explain."""
        return tuple(fork for fork in self.forks if not fork.is_tie)

    @property
    def ties(self) -> tuple[Fork, ...]:
        """Forks that rounding explains."""
        return tuple(fork for fork in self.forks if fork.is_tie)

    @property
    def matches(self) -> bool:
        """True where something was generated, and no fork is a mismatch."""
        return self.compared > 0 and not self.mismatches


def judge_tokens(
    name: str, settings: Mapping[str, Json], source: Answer, target: Answer, reference: Answer
) -> Generation:
    """Compare what the sides generated under `name`; `reference` is one of them, or the third."""
    tokens = [one.arrays[f"{name}/tokens"] for one in (source, target, reference)]
    measure = _beam_gap if int(str(settings["num_beams"])) > 1 else _greedy_gap
    forks = []
    for row, step in first_apart(tokens):
        chosen = [int(one[row, step]) for one in tokens]
        gap, noise = measure(name, reference, row, step, chosen)
        forks.append(Fork(row, step, chosen[0], chosen[1], gap, noise))
    return Generation(name, settings, _rows(tokens[0]), _rows(tokens[1]), tuple(forks))


def first_apart(tokens: Sequence[Array]) -> Iterator[tuple[int, int]]:
    """Return row and step where not all sides agree for the first time, of each row that has one."""
    apart = np.logical_or.reduce([one != tokens[0] for one in tokens[1:]])
    for row in np.flatnonzero(apart.any(axis=1)):
        yield int(row), int(apart[row].argmax())


def agreed(tokens: Sequence[Array]) -> Array:
    """Return True for the steps whose logits all sides computed from the same tokens, shape (rows, steps)."""
    alike = tokens[0] >= 0
    for row, step in first_apart(tokens):
        alike[row, step + 1 :] = False
    return np.asarray(alike)


def _rows(tokens: Array) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(token) for token in row if token >= 0) for row in tokens)


def _greedy_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return how far the chosen tokens' logits lie apart in float64, and the yardstick's noise at that step."""
    exact = reference.arrays[f"float64/{name}/cached"]
    if min(chosen) < 0 or step >= exact.shape[1]:
        return float("inf"), 0.0
    logits = exact[row, step]
    found = reference.arrays[f"float32/{name}/cached"][row, step]
    noise = max(float(np.abs(found - logits).max()), EPSILON * float(np.abs(logits).max()))
    return float(logits.max() - logits[list(chosen)].min()), MAX_FACTOR * noise


def _beam_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return the nearest decision of a row's search in float64, in units of what a sum of so many steps may be off by.

    What a search drops early may come up late, so every decision counts, whichever token it shows in.
    """
    margins = reference.arrays[f"{name}/margins"][row]
    found, exact = (
        reference.arrays[f"{precision}/greedy/cached"] for precision in ("float32", "float64")
    )
    valid = reference.arrays["greedy/tokens"][:, : exact.shape[1]] >= 0
    noise = max(
        float(np.abs(found - exact)[valid].max()), EPSILON * float(np.abs(exact[valid]).max())
    )
    sums = 2 * MAX_FACTOR * noise * np.arange(1, len(margins) + 1)
    nearest = int(np.argmin(margins / sums))
    return float(margins[nearest]), float(sums[nearest])
