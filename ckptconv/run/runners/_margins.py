"""How near a model's own search came to a tie: with its ends, length penalty and whatever changes the scores.

A search makes few decisions: which candidates run on, which of those that end count, when no better answer can come,
and which answer is the best in the end. Each is a comparison of two sums of scores. The margin of a comparison is how
far apart the sums are, over how many errors of a score they hold; where rounding is off by more than that, two right
models may answer differently.

Source: transformers 4.57.6, `_beam_search` and its parts in generation/utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptconv.run.endings import setting_ids
from ckptconv.run.runners import Array
from ckptconv.run.runners._listening import Tokens, continuations

FAR = float("inf")
PENALTIES = ("repetition_penalty", "encoder_repetition_penalty")
"""They multiply or divide scores, and so errors."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides between the answers of a search."""

    beams: int = 1
    ends: frozenset[int] = frozenset()
    exponent: float = 1.0
    """`length_penalty`: an answer counts as its sum over its length to this power."""
    stopping: bool | str = False
    """`early_stopping`."""
    growth: float = 1.0
    """By how much the error of a score may grow before it counts."""
    renormalizes: bool = False


def rules_of(generation: Mapping[str, Any], beams: int | None = None) -> Rules:
    """Return the rules of a generation config. Args: beams: in place of its own."""
    ends = setting_ids(generation.get("eos_token_id"))
    growth = 1.0
    for name in PENALTIES:
        penalty = float(generation.get(name) or 1.0)
        growth *= max(penalty, 1 / penalty) if penalty > 0 else 1.0
    exponent = generation.get("length_penalty")
    return Rules(
        int(beams or generation.get("num_beams") or 1),
        frozenset(ends),
        1.0 if exponent is None else float(exponent),
        generation.get("early_stopping") or False,
        growth,
        bool(generation.get("renormalize_logits")),
    )


@dataclass(slots=True)
class _Row:
    """One row's search so far."""

    sums: dict[Tokens, float]
    """Running answer -> sum of its scores."""
    prompt: int
    """Tokens before the first new one."""
    ended: list[tuple[float, int]] = field(default_factory=list)
    """Of the best answers that ended: the sum over the length to its power, and the length."""
    open: list[tuple[float, int]] = field(default_factory=list)
    """Of those that would count if the search ended here."""
    over: bool = False
    """Nothing that comes can change the answer."""
    margins: list[float] = field(default_factory=list)


@dataclass(slots=True)
class OwnMargins:
    """Follows a search step by step, in the order in which its classes compare."""

    rules: Rules
    rows: list[_Row] = field(default_factory=list)

    def __call__(self, tokens: Array, scores: Array) -> None:
        """Take one step: tokens (rows * beams, length), scores (rows * beams, vocabulary)."""
        beams = self.rules.beams
        if not self.rows:
            self.rows = [
                _Row({tuple(row.tolist()): 0.0}, tokens.shape[1]) for row in tokens[::beams]
            ]
        values = np.asarray(scores, np.float64)
        if self.rules.renormalizes:
            values = values - np.logaddexp.reduce(values, axis=-1, keepdims=True)
        for number, row in enumerate(self.rows):
            part = slice(number * beams, (number + 1) * beams)
            row.margins.append(FAR if row.over else self._step(row, tokens[part], values[part]))

    def _step(self, row: _Row, tokens: Array, scores: Array) -> float:
        """Take one row's step, and return its least margin."""
        rules = self.rules
        candidates = self._candidates(row, tokens, scores)
        if not candidates:
            row.over = True
            return FAR
        length = len(candidates[0][1]) - row.prompt
        if rules.beams == 1:
            (total, answer), *rest = candidates
            row.sums, row.over = {answer: 0.0}, answer[-1] in rules.ends
            return (total - rest[0][0]) / (2 * rules.growth) if rest else FAR
        alive = [each for each in candidates if each[1][-1] not in rules.ends]
        gap = min(_border(alive, rules.beams), self._border_of_ends(candidates))
        row.sums = {answer: total for total, answer in alive[: rules.beams]}
        for total, answer in candidates[: rules.beams]:
            if answer[-1] in rules.ends:
                row.ended.append((total / length**rules.exponent, length))
        row.ended = sorted(row.ended, reverse=True)[: rules.beams]
        row.open = [
            (total / length**rules.exponent, length)
            for total, answer in candidates[: rules.beams]
            if answer[-1] not in rules.ends
        ]
        hope = self._hope(row, alive[0][0] if alive else -FAR, length)
        return min(gap / (2 * length), hope) / rules.growth

    def _candidates(self, row: _Row, tokens: Array, scores: Array) -> list[tuple[float, Tokens]]:
        """Return the best continuations of what runs, the best first, with one more than can count."""
        rules = self.rules
        most = 2 if rules.beams == 1 else rules.beams * max(2, 1 + len(rules.ends)) + 1
        candidates = continuations(row.sums, tokens, scores, most)
        return [candidate for candidate in candidates if np.isfinite(candidate[0])]

    def _border_of_ends(self, candidates: list[tuple[float, Tokens]]) -> float:
        """Return the margin by which an ended candidate is, or is not, among the first: only there does it count."""
        beams = self.rules.beams
        beside = candidates[beams - 1 : beams + 1]
        if any(answer[-1] in self.rules.ends for _, answer in beside):
            return _border(candidates, beams)
        return FAR

    def _errors(self, length: int) -> float:
        """Return how many errors of a score an answer's sum over its length to the power holds."""
        return float(length ** (1 - self.rules.exponent))

    def _hope(self, row: _Row, best: float, length: int) -> float:
        """Note whether an answer can still come that counts; return by how much that was decided."""
        rules = self.rules
        if len(row.ended) < rules.beams:
            return FAR
        row.over = rules.stopping is True
        if rules.stopping == "never" and rules.exponent > 0:
            return FAR
        possible, worst = best / length**rules.exponent, row.ended[-1][0]
        row.over = row.over or possible <= worst
        most = max(self._errors(other) for _, other in row.ended)
        return float(abs(possible - worst) / (self._errors(length) + most))

    def stacked(self) -> Array:
        """Return the margins [errors of one score]: of a greedy search (rows, steps), of beams the least (rows, 1)."""
        if not self.rows:
            return np.zeros((0, 0))
        if self.rules.beams == 1:
            return np.array([row.margins for row in self.rows], np.float64)
        least = [[min(*row.margins, self._last(row))] for row in self.rows]
        return np.array(least, np.float64)

    def _last(self, row: _Row) -> float:
        """Return the margin between the best answer and the next one."""
        answers = sorted(row.ended + ([] if row.over else row.open), reverse=True)[:2]
        if len(answers) < 2:
            return FAR
        (best, length), (second, other) = answers
        return (best - second) / ((self._errors(length) + self._errors(other)) * self.rules.growth)


def _border(candidates: list[tuple[float, Tokens]], place: int) -> float:
    """Return how far the last that is taken is from the first that is not."""
    if len(candidates) <= place:
        return FAR
    return candidates[place - 1][0] - candidates[place][0]
