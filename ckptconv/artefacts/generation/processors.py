"""What changes the scores of the next token, in the order in which transformers 4.57.6 applies it.

Answers lie in a buffer of `tokens` (rows, length), of which the first `count` are there. Every processor is a function
of that and of `scores` (rows, vocabulary), made of operators that every format has. Imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ckptconv.artefacts.generation.settings import Search

LOWEST = float("-inf")


@dataclass(frozen=True, slots=True)
class Controls:
    """What a caller may set at each call, beside the search that is fixed when it is traced."""

    min_length: torch.Tensor
    """(), int64."""
    repetition_penalty: torch.Tensor
    """(), float32; 1 changes nothing."""


@dataclass(frozen=True, slots=True)
class Words:
    """Sequences of one length; the tensors are made before a loop, which must make no constants."""

    prefixes: torch.Tensor | None
    """(sequences, length - 1): what precedes the last token; None where that is nothing."""
    lasts: torch.Tensor
    """(sequences,): the last token."""
    biases: torch.Tensor
    """(sequences,), float32: what is added to its score."""


def words_of(biases: Sequence[tuple[tuple[int, ...], float]]) -> list[Words]:
    """Group sequences by their length, the shortest first."""
    groups: dict[int, list[tuple[tuple[int, ...], float]]] = {}
    for tokens, bias in biases:
        groups.setdefault(len(tokens), []).append((tokens, bias))
    return [
        Words(
            torch.tensor([tokens[:-1] for tokens, _ in group]) if size > 1 else None,
            torch.tensor([tokens[-1] for tokens, _ in group]),
            torch.tensor([bias for _, bias in group]),
        )
        for size, group in sorted(groups.items())
    ]


def processors_of(
    search: Search,
    length: int,
    controls: Controls,
    encoder_tokens: torch.Tensor | None = None,
    beams: torch.Tensor | None = None,
) -> Processors:
    """Return the processors of a search. Args: length: of the longest answer. The others: as of `Processors`."""
    return Processors(
        search,
        torch.full((), length, dtype=torch.long),
        controls,
        encoder_tokens,
        beams,
        words_of(search.biases),
        words_of([(word, LOWEST) for word in search.bad_words]),
    )


@dataclass(frozen=True, slots=True)
class Processors:
    """All processors of a search."""

    search: Search
    length: torch.Tensor
    """(), int64: the longest answer."""
    controls: Controls
    encoder_tokens: torch.Tensor | None = None
    """(batch, length), int64, where the inputs are tokens."""
    beams: torch.Tensor | None = None
    """(beams,): its size says how many answers each input has; None: one."""
    biases: Sequence[Words] = ()
    bad_words: Sequence[Words] = ()

    def __call__(
        self, tokens: torch.Tensor, count: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        """Return the scores of the next token; see the module's description."""
        search = self.search
        scores = biased(scores, tokens, count, self.biases)
        if self.encoder_tokens is not None and search.encoder_repetition_penalty != 1.0:
            scores = _encoder_penalized(
                scores, self.encoder_tokens, 1 / search.encoder_repetition_penalty
            )
        scores = _penalized(scores, _present(tokens, count), self.controls.repetition_penalty)
        if search.no_repeat_ngram_size:
            scores = _without_repeats(
                scores, tokens, count, tokens, count, search.no_repeat_ngram_size
            )
        if self.encoder_tokens is not None and search.encoder_no_repeat_ngram_size:
            source = (
                self.encoder_tokens
                if self.beams is None
                else repeated(self.encoder_tokens, self.beams)
            )
            size = torch.full((), source.shape[1], dtype=torch.long)
            scores = _without_repeats(
                scores, tokens, count, source, size, search.encoder_no_repeat_ngram_size
            )
        scores = biased(scores, tokens, count, self.bad_words)
        if search.ends:
            scores = _without(scores, search.ends, count < self.controls.min_length)
        return self._normalized(self._forced(scores, count), count)

    def _forced(self, scores: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Force the first token, and the end where nothing may follow."""
        if self.search.forced_bos is not None:
            scores = _only(scores, (self.search.forced_bos,), count == 1)
        if self.search.forced_eos:
            scores = _only(scores, self.search.forced_eos, count == self.length - 1)
        return scores

    def _normalized(self, scores: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Apply what comes last."""
        search = self.search
        if search.remove_invalid:
            limits = torch.finfo(scores.dtype)
            scores = torch.where(scores != scores, 0.0, scores).clamp(limits.min, limits.max)
        if search.decay is not None:
            scores = _decayed(scores, search.ends, count, search.decay)
        if search.suppressed:
            scores = _without(scores, search.suppressed)
        if search.begin_suppressed:
            scores = _without(scores, search.begin_suppressed, count == search.begin)
        return scores


def repeated(tensor: torch.Tensor, beams: torch.Tensor) -> torch.Tensor:
    """Return every row as often as `beams` has elements, one copy after the other: (batch * beams, ...)."""
    count = beams.shape[0]
    wide = tensor[:, None].expand(tensor.shape[0], count, *tensor.shape[1:])
    return wide.reshape(tensor.shape[0] * count, *tensor.shape[1:])


def _columns(scores: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Return which columns are among `tokens`: (1, vocabulary)."""
    columns = torch.arange(scores.shape[-1])
    hits = columns == tokens[0]
    for token in tokens[1:]:
        hits = hits | (columns == token)
    return hits[None, :]


def _without(
    scores: torch.Tensor, tokens: Sequence[int], when: torch.Tensor | None = None
) -> torch.Tensor:
    """Forbid tokens, always or where `when` () is true."""
    hits = _columns(scores, tokens) if when is None else _columns(scores, tokens) & when
    return torch.where(hits, LOWEST, scores)


def _only(scores: torch.Tensor, tokens: Sequence[int], when: torch.Tensor) -> torch.Tensor:
    """Leave nothing but some tokens, at a score of 0, where `when` () is true."""
    forced = torch.where(_columns(scores, tokens), 0.0, LOWEST).to(scores.dtype)
    return torch.where(when, forced.expand(scores.shape), scores)


def _present(tokens: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Return the tokens that are there; in the place of those that are not, the first."""
    return torch.where(torch.arange(tokens.shape[1])[None, :] < count, tokens, tokens[:, :1])


def _penalized(
    scores: torch.Tensor, tokens: torch.Tensor, penalty: torch.Tensor | float
) -> torch.Tensor:
    """Make the scores of some tokens of each row smaller, whatever their sign."""
    chosen = torch.gather(scores, 1, tokens)
    return scores.scatter(1, tokens, torch.where(chosen < 0, chosen * penalty, chosen / penalty))


def _encoder_penalized(scores: torch.Tensor, source: torch.Tensor, penalty: float) -> torch.Tensor:
    """Do the same for the tokens of the input.

    transformers has as many rows of them as inputs, also where each input has several beams: it then changes the
    first rows alone. So does this.
    """
    rows, last = torch.arange(scores.shape[0]), source.shape[0] - 1
    penalized = _penalized(scores, source.index_select(0, rows.clamp(max=last)), penalty)
    return torch.where((rows <= last)[:, None], penalized, scores)


def biased(
    scores: torch.Tensor, tokens: torch.Tensor, count: torch.Tensor, groups: Sequence[Words]
) -> torch.Tensor:
    """Add a bias to the last token of each sequence where the others precede it."""
    if not groups:
        return scores
    total = torch.zeros_like(scores)
    rows = scores.shape[0]
    for words in groups:
        added = words.biases[None, :].expand(rows, -1)
        if words.prefixes is not None:
            size = words.prefixes.shape[1]
            before = _before(tokens, count, size)
            hits = (before[:, None, :] == words.prefixes[None]).all(-1) & (count > size)
            added = torch.where(hits, added, 0.0)
        total = total.scatter_add(1, words.lasts[None, :].expand(rows, -1), added)
    return scores + total


def _before(tokens: torch.Tensor, count: torch.Tensor, size: int) -> torch.Tensor:
    """Return the last `size` tokens that are there: (rows, size); the first again where there are fewer."""
    return tokens.index_select(1, (count - size + torch.arange(size)).clamp(min=0))


def _without_repeats(
    scores: torch.Tensor,
    tokens: torch.Tensor,
    count: torch.Tensor,
    source: torch.Tensor,
    size: torch.Tensor,
    n: int,
) -> torch.Tensor:
    """Forbid each token that followed, in `source`, the n - 1 tokens that an answer ends with.

    Args: source: (rows, any length), of which the first `size` tokens count.
    """
    places = torch.arange(source.shape[1])
    hits = ((places >= n - 1) & (places < size) & (count >= n - 1))[None, :]
    for back in range(1, n):
        earlier = source.index_select(1, (places - back).clamp(min=0))
        last = tokens.index_select(1, (count - back).clamp(min=0).reshape(1))
        hits = hits & (earlier == last)
    hits = hits.expand(source.shape)
    followers = torch.where(hits, source, 0)  # the decoder need not have the others
    counts = torch.zeros_like(scores).scatter_add(1, followers, hits.to(scores.dtype))
    return torch.where(counts > 0, LOWEST, scores)


def _decayed(
    scores: torch.Tensor, ends: Sequence[int], count: torch.Tensor, decay: tuple[int, float]
) -> torch.Tensor:
    """Raise the score of an end by a factor that grows with the length."""
    start, factor = decay[0] + 1, decay[1]
    growth = (torch.full((), factor, dtype=torch.float64) ** (count - start).clamp(min=0)).to(
        torch.float64
    ) - 1
    raised = scores + scores.abs() * growth.to(scores.dtype)
    return torch.where(_columns(scores, ends) & (count > start), raised, scores)
