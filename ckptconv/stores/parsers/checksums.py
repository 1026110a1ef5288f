"""Checksums that a file carries for its own data: bytes read once more, compared, forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from ckptconv.base.workers import finish, workers
from ckptconv.stores.parsers.announced import require_announced
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.parsers.stream import FETCH, refusal, shown
from ckptconv.stores.tensor import ChecksumSpan, Stored

WORKERS = 2
"""Reading and summing both release Python's lock."""
_PIECE_BYTES = 1 << 20
"""Read at a time: it stays in the cache between reading and summing."""


def checksum_spans(tensors: Iterable[Stored]) -> tuple[ChecksumSpan, ...]:
    """Return the checksummed spans that hold these tensors, each once, in the order of the files."""
    spans = {stored.checksum for stored in tensors if stored.checksum}
    return tuple(sorted(spans, key=lambda span: (span.path, span.extent.offset)))


def require_checksums(tensors: Iterable[Stored], *, announced: bool = True) -> None:
    """Compare all that these tensors are read from with the files' own checksums, where there are some.

    Args: announced: also with the digests that the hub announced, which takes reading the files as a whole.
    Raises: SourceError: as `check_span`.
    """
    tensors = list(tensors)
    if announced:
        require_announced(chunk.path for stored in tensors for chunk in stored.chunks)
    spans = checksum_spans(tensors)
    if spans:
        with workers(WORKERS) as pool:
            finish([pool.submit(check_span, span) for span in spans])


def check_span(span: ChecksumSpan) -> None:
    """Compare a span of bytes with its checksum, in little memory.

    Raises: SourceError: they disagree, or cannot be read.
    """
    with FileReader(span.path) as file:
        actual = checksum(file, span.extent.offset, span.extent.nbytes)
    if actual != span.crc:
        what = f"zip member {shown(span.name)} has the CRC-32 {actual:08x}, the zip directory says {span.crc:08x}"
        raise refusal(span.path, what, at=span.extent.offset, advice=FETCH)


def checksum(file: FileReader, offset: int, nbytes: int) -> int:
    """Return the CRC-32 of a run of bytes. Raises SourceError: they cannot be read."""
    room = memoryview(bytearray(min(nbytes, _PIECE_BYTES)))
    total = 0
    for at in range(0, nbytes, _PIECE_BYTES):
        piece = room[: nbytes - at]
        file.read_into(offset + at, piece)
        total = crc32(piece, total)
    return total
