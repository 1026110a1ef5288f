"""Which tensors of a checkpoint hold the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from ckptconv.base.workers import finish, workers
from ckptconv.compare.statistics import Statistics
from ckptconv.stores.tensor import Stored
from ckptconv.transfer.pieces import OpenFiles, Pieces


def duplicates(
    tensors: Sequence[Stored], statistics: Sequence[Statistics]
) -> tuple[tuple[Stored, ...], ...]:
    """Return the groups of tensors that are equal bit for bit, by SHA-256.

    Only tensors of the same dtype, size and figures are read, and constant ones are left out: all biases of a new
    model are the same zeros, and that tells nobody anything.

    Raises: SourceError: a file cannot be read.
    """
    alike: dict[object, list[Stored]] = {}
    for stored, figures in zip(tensors, statistics, strict=True):
        if not figures.constant and figures.numel:
            alike.setdefault((stored.spec.dtype, figures.numel, repr(figures)), []).append(stored)
    return tuple(group for some in alike.values() if len(some) > 1 for group in _equal(some))


def _equal(tensors: Sequence[Stored]) -> Iterable[tuple[Stored, ...]]:
    """Group tensors by digest; one place under several names is one digest."""
    with OpenFiles() as files, workers() as pool:

        def digest(stored: Stored) -> bytes:
            summed = sha256()
            for piece in Pieces(files).plain(stored):
                summed.update(memoryview(piece).cast("B"))
            return summed.digest()

        groups: dict[bytes, list[Stored]] = {}
        digests = finish([pool.submit(digest, stored) for stored in tensors])
        for stored, value in zip(tensors, digests, strict=True):
            groups.setdefault(value, []).append(stored)
    return [tuple(group) for group in groups.values() if len(group) > 1]
