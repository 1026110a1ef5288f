"""What is noted down while a model generates: the scores of each step, or how near its beams came to a tie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ckptconv.run.runners import Array

Tokens: TypeAlias = tuple[int, ...]


@dataclass(slots=True)
class Steps:
    """Keeps the scores of each step of a greedy search: the logits, since it has no other processors."""

    scores: list[Array] = field(default_factory=list)

    def __call__(self, tokens: Array, scores: Array) -> None:
        """Keep one step's scores, shape (rows, vocabulary)."""
        self.scores.append(np.asarray(scores))

    def stacked(self) -> Array:
        """Return all steps, shape (rows, steps, vocabulary)."""
        return np.stack(self.scores, axis=1)


def continuations(
    sums: Mapping[Tokens, float], tokens: Array, scores: Array, most: int
) -> list[tuple[float, Tokens]]:
    """Return the best continuations of one row's running answers, the best first, each with the sum of its scores.

    Args: sums: of the running answers. tokens: (beams, length). scores: (beams, vocabulary).
    """
    by_begin = {tuple(begin.tolist()): values for begin, values in zip(tokens, scores, strict=True)}
    candidates = [
        (sums[begin] + float(values[token]), (*begin, int(token)))
        for begin, values in by_begin.items()
        if begin in sums
        for token in np.argsort(-values)[:most]
    ]
    return sorted(candidates, reverse=True)[:most]


@dataclass(slots=True)
class Margins:
    """Follows a beam search without ends, and keeps for each step the least margin by which something was decided.

    Decided is in which order the best candidates stand. Where no margin is below the noise, every right model
    finds the same answer.
    """

    beams: int
    margins: list[list[float]] = field(default_factory=list)
    sums: list[dict[Tokens, float]] = field(default_factory=list)
    """Of each row, the running answers and the sum of their log-probabilities."""

    def __call__(self, tokens: Array, scores: Array) -> None:
        """Take one step: tokens (rows * beams, length), log-probabilities (rows * beams, vocabulary)."""
        if not self.sums:
            self.sums = [{tuple(row.tolist()): 0.0} for row in tokens[:: self.beams]]
        firsts = range(0, len(tokens), self.beams)
        self.margins.append(
            [
                self._step(
                    row,
                    tokens[first : first + self.beams],
                    np.asarray(scores[first : first + self.beams]),
                )
                for row, first in enumerate(firsts)
            ]
        )

    def _step(self, row: int, tokens: Array, scores: Array) -> float:
        """Take one row's step, and return its least margin."""
        candidates = continuations(self.sums[row], tokens, scores, self.beams + 1)
        self.sums[row] = {answer: total for total, answer in candidates[: self.beams]}
        totals = [total for total, _ in candidates]
        return min((better - worse for better, worse in pairwise(totals)), default=0.0)

    def stacked(self) -> Array:
        """Return the least margins, shape (rows, steps)."""
        return np.array(self.margins, np.float64).T


def listener(beams: int) -> Steps | Margins:
    """Return what listens to a search with so many beams."""
    return Steps() if beams == 1 else Margins(beams)
