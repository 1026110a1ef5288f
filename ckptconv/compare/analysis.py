"""From two tensors that differ to the name of what happened; the most telling answer first.

What one pass saw settles most: a cast, a few elements, a small change everywhere. Only a tensor that
changed much, or is small, is looked at as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ckptconv.compare.place_relations import rows, transposed
from ckptconv.compare.stream import Figures, Relation, Streamed
from ckptconv.compare.value_relations import Match, constant, elements, initialised, rounded, scaled
from ckptconv.stores.tensor import FLOATS
from ckptconv.transfer.casting import Items

SMALL_BYTES = 1 << 20
"""Tensors up to this size are always looked at as a whole."""
LARGE_BYTES = 256 << 20
"""Of larger ones only so much is looked at, from the start; then places are not compared."""
ALIKE = 0.9
"""Cosine above which a tensor has changed, but not moved."""


@dataclass(frozen=True, slots=True)
class ItemPair:
    """Two tensors of one shape and dtype, as raw items; perhaps only the beginning of each."""

    expected: Items
    found: Items
    whole: bool
    """False: both are one-dimensional runs from the start."""


def relate(
    streamed: Streamed,
    shape: tuple[int, ...],
    labels: tuple[str, ...],
    load: Callable[[], ItemPair],
) -> Relation | None:
    """Say how a tensor differs; None where every bit is right.

    Args: shape, labels: of the found tensor, and what the tables call its axes. load: reads both, in
    the dtype in which they were compared.
    """
    figures = streamed.sums.figures
    if streamed.same:
        cast = f"equal after a cast from {streamed.expected_dtype} to {streamed.found_dtype}"
        return Relation("cast", cast, figures) if streamed.casts else None
    answer = next(_answers(streamed, figures, shape, labels, load), None)
    return Relation(*(answer or ("changed", _changed(figures))), figures)


def _answers(
    streamed: Streamed,
    figures: Figures,
    shape: tuple[int, ...],
    labels: tuple[str, ...],
    load: Callable[[], ItemPair],
) -> Iterator[Match]:
    """Return what fits, the most telling first."""
    dtype = streamed.dtype
    if dtype not in FLOATS:
        return
    if figures.differing == 1:
        yield from _some(elements(streamed.changes, 1, shape, dtype))
    if not _suspect(streamed, figures):
        return
    pair = load()
    if pair.whole:
        yield from _moved(pair, shape, labels, dtype)
    yield from _some(elements(streamed.changes, figures.differing, shape, dtype))
    if not pair.whole:
        yield from _some(constant(pair.expected, pair.found, dtype))
    yield from _some(rounded(pair.expected, pair.found, dtype))
    yield from _some(scaled(pair.expected, pair.found, dtype))
    if pair.whole:
        yield from _some(initialised(pair.expected, pair.found, dtype))


def _moved(
    pair: ItemPair, shape: tuple[int, ...], labels: tuple[str, ...], dtype: str
) -> Iterator[Match]:
    """Look at the places of elements, which takes the whole tensor."""
    yield from _some(constant(pair.expected, pair.found, dtype))
    yield from _some(transposed(pair.expected.reshape(shape), pair.found.reshape(shape)))
    yield from _some(rows(pair.expected.reshape(shape), pair.found.reshape(shape), labels))


def _some(answer: Match | None) -> Iterator[Match]:
    if answer:
        yield answer


def _suspect(streamed: Streamed, figures: Figures) -> bool:
    """Tell whether a tensor is worth a second look: not where training moved all of it a little."""
    nbytes = figures.numel * streamed.found_head.itemsize
    moved = not figures.cosine > ALIKE or figures.differing * 2 < figures.numel
    if nbytes <= SMALL_BYTES or moved:
        return True
    heads = streamed.expected_head, streamed.found_head
    return bool(rounded(*heads, streamed.dtype) or scaled(*heads, streamed.dtype))


def _changed(figures: Figures) -> str:
    """Return the sentence for what no other fits."""
    return "changed beyond recognition" if figures.cosine <= ALIKE else "changed"
