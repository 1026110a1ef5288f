"""Greedy search and sampling around `encode` and `step`, as transformers 4.57.6 does them. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch._higher_order_ops import while_loop

from ckptconv.artefacts.generation.processors import Processors
from ckptconv.artefacts.generation.sampling import Sampling
from ckptconv.artefacts.generation.settings import Search

Step: TypeAlias = Callable[
    [torch.Tensor, torch.Tensor, Sequence[torch.Tensor], Sequence[torch.Tensor]], Any
]
"""(token (rows, 1), position (), own, cross) -> logits (rows, vocabulary), own ...; see `tracing.modules.Step`."""
Shapes: TypeAlias = Sequence[tuple[int, int]]
"""(heads, width) of each of the decoder's own keys and values."""


def empty_buffers(shapes: Shapes, rows: int, length: int) -> tuple[torch.Tensor, ...]:
    """Return the decoder's own keys and values before the first step; the last token of an answer needs no row."""
    return tuple(torch.zeros(rows, heads, length - 1, width) for heads, width in shapes)


def is_end(tokens: torch.Tensor, ends: Sequence[int]) -> torch.Tensor:
    """Return which tokens end an answer; the shape is that of `tokens`."""
    hits = torch.zeros_like(tokens, dtype=torch.bool)
    for end in ends:
        hits = hits | (tokens == end)
    return hits


def run_greedy(
    step: Step,
    cross: Sequence[torch.Tensor],
    shapes: Shapes,
    search: Search,
    processors: Processors,
    places: torch.Tensor,
    sampling: Sampling | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return answers (batch, longest answer), and how many columns of them count ().

    Args: places: (longest answer,), its size says how long an answer may be. sampling: draws tokens; None takes the
    best. What follows the columns that count is padding.
    """
    rows, length = cross[0].shape[0], places.shape[0]
    columns = torch.arange(length)
    cross = tuple(tensor.clone() for tensor in cross)  # GPT-2's are views of one: a loop takes none
    tokens = (
        torch.where(columns == 0, search.start, search.pad)[None, :]
        .expand(rows, length)
        .contiguous()
    )
    token = torch.full((rows, 1), search.start, dtype=torch.long)
    active = torch.ones(rows, dtype=torch.bool)

    def goes_on(count: Any, token: Any, active: Any, tokens: Any, *own: Any) -> Any:
        return (count < length) & active.any()

    def body(count: Any, token: Any, active: Any, tokens: Any, *own: Any) -> Any:
        logits, *own = step(token, count - 1, own, cross)
        scores = processors(tokens, count, logits.to(torch.float32))
        if sampling is None:
            best = (torch.log_softmax(scores, -1) if search.renormalizes else scores).argmax(-1)
        else:
            best = sampling.draw(scores, count, renormalizes=search.renormalizes)
        best = torch.where(active, best, search.pad)
        tokens = torch.where(columns[None, :] == count, best[:, None], tokens)
        return (count + 1, best[:, None], active & ~is_end(best, search.ends), tokens, *own)

    first = (
        torch.ones((), dtype=torch.long),
        token,
        active,
        tokens,
        *empty_buffers(shapes, rows, length),
    )
    count, _, _, tokens, *_ = while_loop(goes_on, body, first)
    return tokens.clone(), count.clone()
