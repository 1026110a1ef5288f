"""Checksums that a file carries for its own data: bytes read once more, compared, forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from ckptconv.base.workers import finish, workers
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.parsers.stream import FETCH, refusal, shown
from ckptconv.stores.tensor import Record, Stored

WORKERS = 2
"""Reading and summing both release Python's lock."""
_PIECE_BYTES = 1 << 20
"""Read at a time: it stays in the cache between reading and summing."""


def records(tensors: Iterable[Stored]) -> tuple[Record, ...]:
    """Return the checksummed records that hold these tensors, each once, in the order of the files."""
    found = {stored.record for stored in tensors if stored.record}
    return tuple(sorted(found, key=lambda record: (record.path, record.extent.offset)))


def check_records(tensors: Iterable[Stored]) -> None:
    """Compare all that these tensors are read from with the files' own checksums, where there are some.

    Raises: SourceError: as `check_record`.
    """
    spans = records(tensors)
    if spans:
        with workers(WORKERS) as pool:
            finish([pool.submit(check_record, span) for span in spans])


def check_record(record: Record) -> None:
    """Compare a record's bytes with its checksum, in little memory.

    Raises: SourceError: they disagree, or cannot be read.
    """
    with FileReader(record.path) as file:
        found = checksum(file, record.extent.offset, record.extent.nbytes)
    if found != record.crc:
        what = f"zip member {shown(record.name)} has the CRC-32 {found:08x}, the zip directory says {record.crc:08x}"
        raise refusal(record.path, what, at=record.extent.offset, advice=FETCH)


def checksum(file: FileReader, offset: int, nbytes: int) -> int:
    """Return the CRC-32 of a run of bytes. Raises SourceError: they cannot be read."""
    room = memoryview(bytearray(min(nbytes, _PIECE_BYTES)))
    total = 0
    for at in range(0, nbytes, _PIECE_BYTES):
        piece = room[: nbytes - at]
        file.read_into(offset + at, piece)
        total = crc32(piece, total)
    return total
