"""Many tensors, each against what it should be: one pass over all by several threads, then a look at what differs.

So are a checkpoint's own tensors that must hold the same bytes. Memory: as in `transfer`, a piece and the whole source
tensor where its axes change; then one differing pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ckptconv.base.errors import PlanError, Problem
from ckptconv.base.workers import PerThread, run_all, workers
from ckptconv.binding.align import TensorPair
from ckptconv.binding.bind import Equality
from ckptconv.binding.plan import Constant, Fill
from ckptconv.compare.stream import (
    Figures,
    Reader,
    Relation,
    Streamed,
    Sums,
    compare_stream,
    in_dtype,
)
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.tensor import ITEMSIZE
from ckptconv.transfer.casting import Items, raw_dtype
from ckptconv.transfer.pieces import OpenFiles, Pieces, SharedPieces, drawn

if TYPE_CHECKING:
    from ckptconv.compare.analysis import ItemPair

# `analysis` names what differs, which most pairs do not: it is imported where a pair does.


@dataclass(frozen=True, slots=True)
class WeightDifference:
    """How a stored tensor differs from what it should be."""

    name: str
    """As the target spells it."""
    source: str
    """The tensor that it comes from, as the source spells it; empty where the values are made."""
    relation: Relation
    row: SchemaTensor = field(repr=False)
    """What the tables say of it."""

    @property
    def figures(self) -> Figures:
        """How far the two are apart."""
        assert self.relation.figures is not None
        return self.relation.figures

    @property
    def differing(self) -> int:
        """Elements whose bits differ."""
        return self.figures.differing

    @property
    def numel(self) -> int:
        """Elements compared."""
        return self.figures.numel

    @property
    def worst(self) -> float:
        """Largest absolute difference; infinite where a NaN or an infinity is on one side only."""
        return self.figures.worst

    def __str__(self) -> str:
        return f"{self.relation}; {self.figures}"


def check_constants(constants: Sequence[Constant]) -> None:
    """Compare what a target's class computes with what a checkpoint holds of it.

    Raises: PlanError: a tensor holds other values, which the target has no place for.
    """
    problems, path = [], ""
    with OpenFiles() as files:
        for constant in constants:
            stored, path = constant.stored, str(constant.stored.path)
            fill = Fill(why=constant.why, formula=constant.formula)
            expected = (memoryview(piece).cast("B") for piece in drawn(fill, stored.spec))
            streamed = compare_stream(expected, stored.spec.dtype, stored, Reader(files))
            if (
                streamed.sums.worst
            ):  # a zero with a sign is what a class without the tensor adds as well
                detail = f"{streamed.sums.figures}, from what the class computes: {constant.why}"
                problems.append(Problem("cannot hold", stored.spec.name, detail))
    if problems:
        raise PlanError(path, problems)


def check_equal(equalities: Sequence[Equality]) -> None:
    """Compare the pairs that must hold the same bytes.

    Raises: PlanError: some do not; the message says how many elements differ, and by how much.
    """
    problems, path = [], ""
    with OpenFiles() as files:
        for pair in equalities:
            path = str(pair.second.path)
            if pair.first.spec.dtype != pair.second.spec.dtype:
                detail = f"{pair.second.spec.dtype}, but {pair.first.spec.name} is {pair.first.spec.dtype}; {pair.why}"
                problems.append(Problem(pair.kind, pair.second.spec.name, detail))
                continue
            if replace(pair.first, spec=pair.second.spec) == pair.second:
                continue  # the same bytes, read in the same way
            expected = (memoryview(piece).cast("B") for piece in Pieces(files).plain(pair.first))
            streamed = compare_stream(expected, pair.first.spec.dtype, pair.second, Reader(files))
            if not streamed.same:
                detail = f"{streamed.sums.figures}, from {pair.first.spec.name}; {pair.why}"
                problems.append(Problem(pair.kind, pair.second.spec.name, detail))
    if problems:
        raise PlanError(path, problems)


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """What became of one pair."""

    sums: Sums
    """Of equal pairs none where only differences were measured."""
    relation: Relation | None
    """None where every bit is right."""


def compare(
    pairs: Sequence[TensorPair],
    files: OpenFiles,
    progress: Callable[[int], None] = lambda nbytes: None,
    *,
    measured: bool = True,
) -> list[PairOutcome]:
    """Compare every pair, in the order of `pairs`.

    Args:
        pairs: what each tensor should be, and where it lies.
        files: reads both.
        progress: called with the bytes of each found tensor once it is compared.
        measured: give sums of pairs that are equal too, which takes another pass over values in the cache.
    Raises: SourceError: a file cannot be read.
    """
    streamer = _Streamer(files, progress, measured)
    with workers() as pool:
        streamed = run_all(pool, streamer.run, pairs)
        relater = _Relater(files, pairs, streamed)
        differing = [
            number for number, stream in enumerate(streamed) if not stream.same or stream.casts
        ]
        named = run_all(pool, relater.run, differing)
    relations = dict(zip(differing, named, strict=True))
    return [
        PairOutcome(stream.sums, relations.get(number)) for number, stream in enumerate(streamed)
    ]


class _Streamer:
    """Compares pairs piece by piece; each thread keeps its buffers from one to the next."""

    def __init__(self, files: OpenFiles, progress: Callable[[int], None], measured: bool) -> None:
        self._progress, self._measured = progress, measured
        self._shared = SharedPieces(files)
        self._readers = PerThread(lambda: Reader(files))

    def run(self, pair: TensorPair) -> Streamed:
        """Make one pass over both sides."""
        with self._shared.pieces_for(pair.move) as pieces:
            result = self._compare(pair, pieces)
        self._progress(pair.stored.spec.nbytes)
        return result

    def _compare(self, pair: TensorPair, pieces: Pieces) -> Streamed:
        dtype, reader = pair.move.target.dtype, self._readers.own
        if not self._measured:
            expected = pieces.of(pair.move, counted=False)
            streamed = compare_stream(expected, dtype, pair.stored, reader, measured=False)
            if streamed.same and not streamed.casts:
                return streamed
        return compare_stream(pieces.of(pair.move, counted=False), dtype, pair.stored, reader)


class _Relater:
    """Names what differs; knows what every pair expects, so that a swap is found."""

    def __init__(
        self, files: OpenFiles, pairs: Sequence[TensorPair], streamed: Sequence[Streamed]
    ) -> None:
        self._files, self._pairs, self._streamed = files, pairs, streamed
        self._by_key = {pair.move.tensor.key: number for number, pair in enumerate(pairs)}
        self._by_head = _by_head(pairs, streamed)
        self._alone = Lock()

    def run(self, number: int) -> Relation | None:
        """Say how one pair differs."""
        from ckptconv.compare.analysis import relate

        pair, streamed = self._pairs[number], self._streamed[number]
        relation = self._swapped(number) or relate(
            streamed, pair.stored.spec.shape, pair.labels, lambda: self._load(pair, streamed.dtype)
        )
        return self._untied(pair, relation) if relation and not streamed.same else relation

    def _untied(self, pair: TensorPair, relation: Relation) -> Relation:
        """Say too where a tensor no longer repeats the one that it is tied to, which is right itself."""
        if pair.repeats not in self._by_key or not self._streamed[self._by_key[pair.repeats]].same:
            return relation
        return Relation(
            "untied",
            f"no longer repeats {pair.repeats}, to which it is tied: {relation}",
            relation.figures,
        )

    def _swapped(self, number: int) -> Relation | None:
        """Say that a tensor has the values of another one of its shape."""
        pair, streamed = self._pairs[number], self._streamed[number]
        if streamed.same or _flat(streamed.found_head):
            return None
        for candidate in self._by_head.get(_head(pair, streamed.found_head), ()):
            tied = self._pairs[candidate].move.tensor.key == pair.repeats
            if (
                candidate == number
                or tied
                or not self._holds(pair, streamed, self._pairs[candidate])
            ):
                continue
            name = self._pairs[candidate].stored.spec.name
            back = self._pairs[candidate], self._streamed[candidate]
            if not back[1].same and self._holds(*back, pair):
                return Relation("swapped", f"swapped with {name}", streamed.sums.figures)
            return Relation("copied", f"holds the values of {name}", streamed.sums.figures)
        return None

    def _holds(self, pair: TensorPair, streamed: Streamed, rival: TensorPair) -> bool:
        """Tell whether a pair has found what another one expects."""
        if self._streamed[self._by_key[rival.move.tensor.key]].dtype != streamed.dtype:
            return False
        with self._alone:
            actual = self._found(pair, streamed.dtype)
            return np.array_equal(actual, self._expected(rival, streamed.dtype)[: actual.size])

    def _load(self, pair: TensorPair, dtype: str) -> ItemPair:
        """Read both sides, or as much of them as is looked at."""
        from ckptconv.compare.analysis import ItemPair

        with self._alone:
            expected, actual = self._expected(pair, dtype), self._found(pair, dtype)
        return ItemPair(expected, actual, whole=actual.size == pair.stored.spec.numel)

    def _expected(self, pair: TensorPair, dtype: str) -> Items:
        stored_as = pair.move.target.dtype
        pieces = (
            np.frombuffer(piece, raw_dtype(stored_as))
            for piece in Pieces(self._files).of(pair.move)
        )
        return _joined(pieces, stored_as, dtype)

    def _found(self, pair: TensorPair, dtype: str) -> Items:
        return _joined(Pieces(self._files).plain(pair.stored), pair.stored.spec.dtype, dtype)


def _joined(pieces: Iterable[Items], stored_as: str, dtype: str) -> Items:
    """Return the pieces as one array of a dtype, up to the size that is looked at."""
    from ckptconv.compare.analysis import LARGE_BYTES

    parts: list[Items] = []
    room = LARGE_BYTES // ITEMSIZE[dtype]
    for piece in pieces:
        parts.append(in_dtype(piece[:room], stored_as, dtype).copy())
        room -= len(parts[-1])
        if not room:
            break
    return np.concatenate(parts)


def _by_head(
    pairs: Sequence[TensorPair], streamed: Sequence[Streamed]
) -> Mapping[object, list[int]]:
    """Return the pairs by how what they expect begins."""
    numbers: dict[object, list[int]] = {}
    for number, (pair, stream) in enumerate(zip(pairs, streamed, strict=True)):
        numbers.setdefault(_head(pair, stream.expected_head), []).append(number)
    return numbers


def _head(pair: TensorPair, head: Items) -> object:
    """Return what two tensors that are equal have in common for certain."""
    return pair.stored.spec.shape, head.itemsize, head.tobytes()


def _flat(head: Items) -> bool:
    """Tell whether a tensor begins with one value only, such as a gain that was never trained."""
    return bool((head == head[:1]).all())
