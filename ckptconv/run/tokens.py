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
    tokens = _alike([answer.arrays[f"{name}/tokens"] for answer in (source, target, reference)])
    measure = _own_gap if settings.get("own") else _greedy_gap
    if int(str(settings.get("num_beams", 1))) > 1:
        measure = _beam_gap
    forks = []
    for row, step in first_apart(tokens):
        chosen = [int(side_tokens[row, step]) for side_tokens in tokens]
        gap, noise = measure(name, reference, row, step, chosen)
        forks.append(Fork(row, step, chosen[0], chosen[1], gap, noise))
    return Generation(name, settings, _rows(tokens[0]), _rows(tokens[1]), tuple(forks))


def _alike(tokens: Sequence[Array]) -> list[Array]:
    """Return the tokens of all sides in one length: a model's own search ends when it ends."""
    length = max(side_tokens.shape[1] for side_tokens in tokens)
    return [
        np.pad(side_tokens, ((0, 0), (0, length - side_tokens.shape[1])), constant_values=-1)
        for side_tokens in tokens
    ]


def first_apart(tokens: Sequence[Array]) -> Iterator[tuple[int, int]]:
    """Return row and step where not all sides agree for the first time, of each row that has one."""
    apart = np.logical_or.reduce([side_tokens != tokens[0] for side_tokens in tokens[1:]])
    for row in np.flatnonzero(apart.any(axis=1)):
        yield int(row), int(apart[row].argmax())


def agreed(tokens: Sequence[Array]) -> Array:
    """Return True for the steps whose logits all sides computed from the same tokens, shape (rows, steps)."""
    agree = tokens[0] >= 0
    for row, step in first_apart(tokens):
        agree[row, step + 1 :] = False
    return np.asarray(agree)


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
    rounded = reference.arrays[f"float32/{name}/cached"][row, step]
    noise = max(float(np.abs(rounded - logits).max()), EPSILON * float(np.abs(logits).max()))
    return float(logits.max() - logits[list(chosen)].min()), MAX_FACTOR * noise


def _beam_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return the nearest decision of a row's search in float64, in units of what a sum of so many steps may be off by.

    What a search drops early may come up late, so every decision counts, whichever token it shows in.
    """
    margins = reference.arrays[f"{name}/margins"][row]
    rounded, exact = (
        reference.arrays[f"{precision}/greedy/cached"] for precision in ("float32", "float64")
    )
    valid = reference.arrays["greedy/tokens"][:, : exact.shape[1]] >= 0
    noise = max(
        float(np.abs(rounded - exact)[valid].max()), EPSILON * float(np.abs(exact[valid]).max())
    )
    sums = 2 * MAX_FACTOR * noise * np.arange(1, len(margins) + 1)
    nearest = int(np.argmin(margins / sums))
    return float(margins[nearest]), float(sums[nearest])


def _own_gap(
    name: str, reference: Answer, row: int, step: int, chosen: Sequence[int]
) -> tuple[float, float]:
    """Return no gap where PyTorch itself chooses otherwise in float64 up to this step; else an infinite one."""
    rounded, exact = _alike([reference.arrays[f"{name}/{kind}"] for kind in ("tokens", "exact")])
    tie = step < rounded.shape[1] and (rounded != exact)[row, : step + 1].any()
    return (0.0 if tie else float("inf")), 0.0
