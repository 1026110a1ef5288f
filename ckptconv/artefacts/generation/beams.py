"""Beam search around `encode` and `step`, as transformers 4.57.6 does it, score for score. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._higher_order_ops import while_loop

from ckptconv.artefacts.generation.loop import Shapes, Step, empty_buffers, is_end
from ckptconv.artefacts.generation.processors import Processors, repeated
from ckptconv.artefacts.generation.settings import Search

OUT = -1.0e9
"""Score of what must not win; added, not set, as transformers does."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """How scores are divided by lengths."""

    exponent: torch.Tensor
    """(), float32: `length_penalty`."""
    longest: torch.Tensor
    """(), int64: tokens of the longest answer."""

    def divided(self, scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return scores over a number of new tokens, to the power of the penalty."""
        # PyTorch computes this power of two Python numbers in float64.
        return scores / (tokens.to(torch.float64) ** self.exponent.to(torch.float64)).to(
            torch.float32
        )


def _taken(tensor: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return, of each row, the elements or the answers at `places` (batch, some)."""
    if tensor.ndim == 2:
        return torch.gather(tensor, 1, places)
    return torch.gather(tensor, 1, places[:, :, None].expand(-1, -1, tensor.shape[2]))


def _out(hits: torch.Tensor) -> torch.Tensor:
    return hits.to(torch.float32) * OUT


def fill_token(search: Search) -> int:
    """Return what beams are padded with; transformers takes the end where the padding token is 0."""
    return (search.pad or search.ends[0]) if search.ends else -1


def run_beams(
    step: Step,
    cross: Sequence[torch.Tensor],
    shapes: Shapes,
    search: Search,
    processors: Processors,
    places: torch.Tensor,
    beams: torch.Tensor,
    length_penalty: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best answer of each row (batch, longest answer), how many columns count (), and scores (batch,).

    Args: step: takes rows that are repeated as often as there are beams. cross: of the inputs, once each.
    places, beams: their sizes say how long an answer may be, and how many beams there are, at least 2.
    """
    batch, length, width = cross[0].shape[0], places.shape[0], beams.shape[0]
    wide, columns = tuple(repeated(tensor, beams) for tensor in cross), torch.arange(length)
    penalty = Penalty(length_penalty, torch.full((), length, dtype=torch.long))
    state = _first_state((batch, width, length), columns, shapes, search)

    def goes_on(count: Any, more: Any, *_rest: Any) -> Any:
        return more.clone()

    def body(count: Any, more: Any, answers: Any, running: Any, *rest: Any) -> Any:
        done: Sequence[Any] = rest[:5]
        flat = answers.reshape(-1, length)
        token = flat.index_select(1, (count - 1).reshape(1))
        logits, *own = step(token, count - 1, rest[5:], wide)
        scores = processors(flat, count, torch.log_softmax(logits.to(torch.float32), -1))
        if search.renormalizes:
            scores = torch.log_softmax(scores, -1)
        best, texts, tokens, origins = _continued(
            answers, running, scores, count, search.candidates
        )
        hits = is_end(tokens, search.ends) | (count + 1 >= length)
        alive = best + _out(hits)
        chosen = torch.topk(alive, width)[1]
        answers, running = _taken(texts, chosen), _taken(alive, chosen)
        rows = (_taken(origins, chosen) + torch.arange(batch)[:, None] * width).reshape(-1)
        done = _ended(done, best, texts, hits, count, penalty, search)
        own = [tensor.index_select(0, rows) for tensor in own]
        hope = _hope(done, running, count + 1, penalty, search)
        more = hope.any() & ~hits.all()
        if search.early_stopping is True:
            more = more & ~done[3].all()
        return (count + 1, more, answers, running, *done[:4], hope, *own)

    result = while_loop(goes_on, body, state)
    ended, scores, new = result[4], result[5], result[6]
    return ended[:, 0].clone(), new[:, 0].max() + 1, scores[:, 0].clone()


def _first_state(
    size: tuple[int, int, int], columns: torch.Tensor, shapes: Shapes, search: Search
) -> tuple[torch.Tensor, ...]:
    """Return what the loop begins with: rows, beams and tokens are `size`, every beam is a start token."""
    batch, width, length = size
    blank = torch.where(columns == 0, search.start, fill_token(search))
    answers = blank[None, None, :].expand(batch, width, length).contiguous()
    running = (
        torch.where(torch.arange(width) == 0, 0.0, OUT)[None, :].expand(batch, width).contiguous()
    )
    return (
        torch.ones((), dtype=torch.long),  # tokens so far
        torch.ones((), dtype=torch.bool),  # whether to go on
        answers,
        running,
        answers.clone(),  # what has ended
        torch.full((batch, width), OUT),
        torch.zeros(batch, width, dtype=torch.long),  # new tokens of what has ended
        torch.zeros(batch, width, dtype=torch.bool),
        torch.ones(batch, 1, dtype=torch.bool),  # whether an ended answer can still be beaten
        *empty_buffers(shapes, batch * width, length),
    )


def _continued(
    answers: torch.Tensor,
    running: torch.Tensor,
    scores: torch.Tensor,
    count: torch.Tensor,
    candidates: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best continuations of each row's beams: scores, texts, their new tokens, the beams they come from."""
    batch, width, length = answers.shape
    vocabulary = scores.shape[-1]
    sums = scores.reshape(batch, width, vocabulary) + running[:, :, None]
    best, places = torch.topk(sums.reshape(batch, width * vocabulary), candidates * width)
    origins, tokens = places // vocabulary, places % vocabulary
    here = (torch.arange(length) == count)[None, None, :]
    return best, torch.where(here, tokens[:, :, None], _taken(answers, origins)), tokens, origins


def _ended(
    done: Sequence[torch.Tensor],
    best: torch.Tensor,
    texts: torch.Tensor,
    hits: torch.Tensor,
    count: torch.Tensor,
    penalty: Penalty,
    search: Search,
) -> tuple[torch.Tensor, ...]:
    """Return the best answers that have ended: texts, scores, new tokens, and whether each has ended at all."""
    answers, scores, new, full, hope = done
    width = scores.shape[1]
    just = hits & (torch.arange(best.shape[1]) < width)[None, :]
    rated = penalty.divided(best, count)  # the start token does not count, the new one does
    if search.early_stopping is True:
        rated = rated + _out(full.all(-1, keepdim=True))
    rated = rated + _out(~hope) + _out(~just)
    merged = torch.cat((scores, rated), 1)
    chosen = torch.topk(merged, width)[1]
    lengths = torch.cat((new, count.expand(best.shape)), 1)
    ended = torch.cat((full, just), 1).to(torch.long)
    return (
        _taken(torch.cat((answers, texts), 1), chosen),
        _taken(merged, chosen),
        _taken(lengths, chosen),
        _taken(ended, chosen) > 0,
        hope,
    )


def _hope(
    done: Sequence[torch.Tensor],
    running: torch.Tensor,
    count: torch.Tensor,
    penalty: Penalty,
    search: Search,
) -> torch.Tensor:
    """Return whether a running beam of each row may still beat its worst answer: (batch, 1)."""
    _, scores, _, full, hope = done
    new = count - 1
    if search.early_stopping == "never":
        new = torch.where(penalty.exponent > 0, penalty.longest - 1, new)
    possible = penalty.divided(running[:, :1], new)
    worst = torch.where(full, scores.min(1, keepdim=True)[0], OUT)
    return hope & (possible > worst).any(-1, keepdim=True)
