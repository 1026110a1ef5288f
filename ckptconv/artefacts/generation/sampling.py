"""Drawing a token: temperature, top_k and top_p as transformers applies them, and numbers that a seed determines.

No format has PyTorch's generator, and every format has another; so the numbers come from integer arithmetic that all
of them do alike: the same seed draws the same tokens everywhere. They are not those of PyTorch, their distribution is.
Imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

PRIME = 2**31 - 1
"""Modulus: the product of two numbers below it fits into 63 bits."""
ROUNDS = (48271, 69621, 40692, 39373)
"""Multipliers of well known generators with that modulus; each round also squares, which is not linear."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a caller sets of a drawing, each a tensor ()."""

    temperature: torch.Tensor
    top_k: torch.Tensor
    """int64; 0 takes all."""
    top_p: torch.Tensor
    seed: torch.Tensor
    """int64."""

    def draw(
        self, scores: torch.Tensor, count: torch.Tensor, *, renormalizes: bool
    ) -> torch.Tensor:
        """Return a token a row: (rows,). Args: scores: (rows, vocabulary). count: (), tokens so far."""
        warped = top_p(top_k(scores / self.temperature, self.top_k), self.top_p)
        if renormalizes:
            warped = torch.log_softmax(warped, -1)
        totals = torch.softmax(warped, -1).to(torch.float64).cumsum(-1)
        numbers = uniform(self.seed, count, scores.shape[0])[:, None] * totals[:, -1:]
        below = (totals <= numbers).to(torch.long).sum(-1)
        return below.clamp(max=scores.shape[-1] - 1)


def top_k(scores: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Keep the k best of each row, and what equals the last of them; k () is 0 for all."""
    ordered = torch.sort(scores, dim=-1, descending=True)[0]
    place = (k - 1).clamp(min=0, max=scores.shape[-1] - 1).reshape(1)
    least = ordered.index_select(1, place)
    return torch.where((scores < least) & (k > 0), float("-inf"), scores)


def top_p(scores: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Keep the fewest tokens whose probabilities sum up to p (); at least the best."""
    ordered, places = torch.sort(scores, dim=-1, descending=False)
    rare = torch.softmax(ordered, -1).cumsum(-1) <= 1 - p
    last = torch.arange(scores.shape[-1]) == scores.shape[-1] - 1
    dropped = (rare & ~last[None, :] & (p < 1)).to(scores.dtype)
    return torch.where(
        torch.zeros_like(scores).scatter(1, places, dropped) > 0, float("-inf"), scores
    )


def uniform(seed: torch.Tensor, count: torch.Tensor, rows: int) -> torch.Tensor:
    """Return numbers in [0, 1) that differ from row to row and from step to step: (rows,), float64."""
    state = (seed % PRIME + PRIME) % PRIME
    for multiplier, salt in zip(
        ROUNDS, (count, torch.arange(rows), count * 7919 + 13, torch.arange(rows) + 1), strict=True
    ):
        state = (state * multiplier + salt * 16807 + 1) % PRIME
        state = (state * state % PRIME + state * 5 + 3) % PRIME
    return state.expand(rows).to(torch.float64) / PRIME
