"""Bytes of a tensor out of its chunks: runs that follow each other, or boxes, compressed or not.

Whoever moves tensors asks for a run of the tensor's own bytes, row-major; where they lie is settled here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.stores.tensor import ITEMSIZE, Box, Chunk, Stored


def _inflate(data: bytes, nbytes: int) -> bytes:
    """Undo zlib's or gzip's compression, to at most one byte more than is expected. Raises zlib.error."""
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, nbytes + 1)


CODECS: Mapping[str, Callable[[bytes, int], bytes]] = {"zlib": _inflate, "gzip": _inflate}
"""Name of a compression -> what undoes it: (stored bytes, expected size) -> data."""


Read: TypeAlias = Callable[[Path, int, memoryview], None]
"""Fills a buffer from a byte of a file on. Raises SourceError: the file ends before, or cannot be read."""


def read_into(read: Read, stored: Stored, start: int, buffer: memoryview) -> None:
    """Fill `buffer` with a tensor's bytes from byte `start` of the tensor on.

    Raises: SourceError: a file cannot be read, or a chunk does not hold what it should.
    """
    if not stored.is_raw:
        _read_boxes(read, stored, start, buffer)
        return
    for chunk in stored.chunks:
        if start < chunk.nbytes and len(buffer):
            count = min(chunk.nbytes - start, len(buffer))
            read(chunk.path, chunk.offset + start, buffer[:count])
            buffer, start = buffer[count:], start + count
        start -= chunk.nbytes if start >= chunk.nbytes else start


def _read_boxes(read: Read, stored: Stored, start: int, buffer: memoryview) -> None:
    """Copy of every box what lies in the run `start` to `start + len(buffer)` of the tensor's bytes."""
    stop, item = start + len(buffer), ITEMSIZE[stored.spec.dtype]
    for chunk in stored.chunks:
        box = chunk.box or tuple((0, size) for size in stored.spec.shape)
        data: bytes | None = None
        for at, inside, nbytes in _runs(stored.spec.shape, box, item, (start, stop)):
            first, last = max(at, start), min(at + nbytes, stop)
            if first >= last:
                continue
            room, inside = buffer[first - start : last - start], inside + first - at
            if chunk.codec is None:
                read(chunk.path, chunk.offset + inside, room)
                continue
            data = data if data is not None else _decoded(read, chunk, box, item)
            room[:] = data[inside : inside + len(room)]


def _runs(
    shape: tuple[int, ...], box: Box, item: int, span: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    """Return the runs of bytes that a box and the whole tensor have in common: (in the tensor, in the box, length).

    Rows of the first axis that lie outside of the wanted bytes of the tensor are passed over at once.
    """
    sizes = [stop - start for start, stop in box]
    whole = len(shape)  # axes from here on lie in one run: the box has all of them
    while whole and sizes[whole - 1] == shape[whole - 1]:
        whole -= 1
    outer = max(whole - 1, 0)  # the axis before them is cut once, and still one run
    run = prod(sizes[outer:]) * item
    steps = [prod(shape[axis + 1 :]) * item for axis in range(len(shape))]
    inner = [prod(sizes[axis + 1 :]) * item for axis in range(len(shape))]
    base = sum(start * steps[axis] for axis, (start, _) in enumerate(box))
    ranges = [range(size) for size in sizes[:outer]]
    if ranges and steps[0]:
        first = max(0, (span[0] - base) // steps[0] - 1)
        last = min(sizes[0], (span[1] - base) // steps[0] + 1)
        ranges[0] = range(first, max(first, last))
    for index in product(*ranges):
        yield (
            base + sum(number * steps[axis] for axis, number in enumerate(index)),
            sum(number * inner[axis] for axis, number in enumerate(index)),
            run,
        )


def _decoded(read: Read, chunk: Chunk, box: Box, item: int) -> bytes:
    """Return a compressed chunk's data. Raises SourceError: an unknown codec, or not the size of the box."""
    nbytes = prod(stop - start for start, stop in box) * item
    decode = CODECS.get(chunk.codec or "")
    if decode is None:
        raise SourceError(
            f"{chunk.path}: a chunk compressed with {chunk.codec!a}; known are {', '.join(CODECS)}."
        )
    compressed = bytearray(chunk.nbytes)
    read(chunk.path, chunk.offset, memoryview(compressed))
    try:
        data = decode(bytes(compressed), nbytes)
    except zlib.error:
        data = b""
    if len(data) != nbytes:
        raise SourceError(
            f"{chunk.path}: the chunk at byte {chunk.offset} does not decompress to {nbytes} bytes."
        )
    return data
