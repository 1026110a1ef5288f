"""Many tensors, each against what it should be: one pass over all by two threads, then a look at what differs.

Memory: as in `transfer`, a piece and the whole source tensor where its axes change; then one differing pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock, local

import numpy as np

from ckptconv.base.workers import finish, workers
from ckptconv.binding.moves import Move
from ckptconv.compare.analysis import LARGE_BYTES, Pair, relate
from ckptconv.compare.relation import Relation, Sums
from ckptconv.compare.stream import Streamed, compare_stream, in_dtype
from ckptconv.stores.tensor import ITEMSIZE, Stored
from ckptconv.transfer.casting import Items, raw_dtype
from ckptconv.transfer.pieces import OpenFiles, Pieces

WORKERS = 2
ALONE_BYTES = 16 << 20
"""Tensors above this whose axes change are compared one at a time: each is held in memory as a whole."""


@dataclass(frozen=True, slots=True)
class Case:
    """One tensor: how it is made of the first checkpoint, and what the second one holds."""

    move: Move
    found: Stored
    labels: tuple[str, ...] = ()
    """What the tables call the axes of the found tensor."""
    repeats: str | None = None
    """Key of the tensor that this one shares its values with, where the config ties them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case."""

    sums: Sums
    relation: Relation | None
    """None where every bit is right."""


def compare(
    cases: Sequence[Case], files: OpenFiles, progress: Callable[[int], None] = lambda nbytes: None
) -> list[Outcome]:
    """Compare every case, in the order of `cases`.

    Args: progress: called with the bytes of each found tensor once it is compared.
    Raises: SourceError: a file cannot be read.
    """
    streamer = _Streamer(files, progress)
    with workers(WORKERS) as pool:
        streamed = finish([pool.submit(streamer.run, case) for case in cases])
        relater = _Relater(files, cases, streamed)
        differing = [number for number, one in enumerate(streamed) if not one.same or one.casts]
        found = finish([pool.submit(relater.run, number) for number in differing])
    relations = dict(zip(differing, found, strict=True))
    return [Outcome(one.sums, relations.get(number)) for number, one in enumerate(streamed)]


class _Streamer:
    """Compares cases piece by piece; each thread keeps its buffers from one to the next."""

    def __init__(self, files: OpenFiles, progress: Callable[[int], None]) -> None:
        self._files, self._progress = files, progress
        self._local = local()
        self._alone = Lock()

    def run(self, case: Case) -> Streamed:
        """Make one pass over both sides."""
        if case.move.permutation and case.move.target.nbytes > ALONE_BYTES:
            with self._alone:
                result = self._compare(case, Pieces(self._files))
        else:
            if not hasattr(self._local, "pieces"):
                self._local.pieces = Pieces(self._files)
            result = self._compare(case, self._local.pieces)
        self._progress(case.found.spec.nbytes)
        return result

    def _compare(self, case: Case, pieces: Pieces) -> Streamed:
        return compare_stream(pieces.of(case.move), case.move.target.dtype, case.found, self._files)


class _Relater:
    """Names what differs; knows what every case expects, so that a swap is found."""

    def __init__(
        self, files: OpenFiles, cases: Sequence[Case], streamed: Sequence[Streamed]
    ) -> None:
        self._files, self._cases, self._streamed = files, cases, streamed
        self._by_key = {case.move.row.key: number for number, case in enumerate(cases)}
        self._by_head = _by_head(cases, streamed)
        self._alone = Lock()

    def run(self, number: int) -> Relation | None:
        """Say how one case differs."""
        case, streamed = self._cases[number], self._streamed[number]
        found = self._swapped(number) or relate(
            streamed, case.found.spec.shape, case.labels, lambda: self._load(case, streamed.dtype)
        )
        return self._untied(case, found) if found and not streamed.same else found

    def _untied(self, case: Case, found: Relation) -> Relation:
        """Say too where a tensor no longer repeats the one that it is tied to, which is right itself."""
        if case.repeats not in self._by_key or not self._streamed[self._by_key[case.repeats]].same:
            return found
        return Relation(
            "untied",
            f"no longer repeats {case.repeats}, to which it is tied: {found}",
            found.figures,
        )

    def _swapped(self, number: int) -> Relation | None:
        """Say that a tensor has the values of another one of its shape."""
        case, streamed = self._cases[number], self._streamed[number]
        if streamed.same or _flat(streamed.found_head):
            return None
        for other in self._by_head.get(_head(case, streamed.found_head), ()):
            tied = self._cases[other].move.row.key == case.repeats
            if other == number or tied or not self._holds(case, streamed, self._cases[other]):
                continue
            name = self._cases[other].found.spec.name
            back = self._cases[other], self._streamed[other]
            if not back[1].same and self._holds(*back, case):
                return Relation("swapped", f"swapped with {name}", streamed.sums.figures)
            return Relation("copied", f"holds the values of {name}", streamed.sums.figures)
        return None

    def _holds(self, case: Case, streamed: Streamed, other: Case) -> bool:
        """Tell whether a case has found what another one expects."""
        if self._streamed[self._by_key[other.move.row.key]].dtype != streamed.dtype:
            return False
        with self._alone:
            found = self._found(case, streamed.dtype)
            return np.array_equal(found, self._expected(other, streamed.dtype)[: found.size])

    def _load(self, case: Case, dtype: str) -> Pair:
        """Read both sides, or as much of them as is looked at."""
        with self._alone:
            expected, found = self._expected(case, dtype), self._found(case, dtype)
        return Pair(expected, found, whole=found.size == case.found.spec.numel)

    def _expected(self, case: Case, dtype: str) -> Items:
        kept = case.move.target.dtype
        pieces = (
            np.frombuffer(piece, raw_dtype(kept)) for piece in Pieces(self._files).of(case.move)
        )
        return _joined(pieces, kept, dtype)

    def _found(self, case: Case, dtype: str) -> Items:
        return _joined(Pieces(self._files).plain(case.found), case.found.spec.dtype, dtype)


def _joined(pieces: Iterable[Items], kept: str, dtype: str) -> Items:
    """Return the pieces as one array of a dtype, up to the size that is looked at."""
    parts: list[Items] = []
    room = LARGE_BYTES // ITEMSIZE[dtype]
    for piece in pieces:
        parts.append(in_dtype(piece[:room], kept, dtype).copy())
        room -= len(parts[-1])
        if not room:
            break
    return np.concatenate(parts)


def _by_head(cases: Sequence[Case], streamed: Sequence[Streamed]) -> Mapping[object, list[int]]:
    """Return the cases by how what they expect begins."""
    found: dict[object, list[int]] = {}
    for number, (case, one) in enumerate(zip(cases, streamed, strict=True)):
        found.setdefault(_head(case, one.expected_head), []).append(number)
    return found


def _head(case: Case, head: Items) -> object:
    """Return what two tensors that are equal have in common for certain."""
    return case.found.spec.shape, head.itemsize, head.tobytes()


def _flat(head: Items) -> bool:
    """Tell whether a tensor begins with one value only, such as a gain that was never trained."""
    return bool((head == head[:1]).all())
