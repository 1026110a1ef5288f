"""Where the constants of a LiteRT file lie: the buffers of its FlatBuffer, read as bytes.

Only Model.buffers -> Buffer.data is followed. Source: schema.fbs of LiteRT (Model: buffers is field 4; Buffer: data is
field 0, and offset and size, for files beyond 2 GB, are fields 1 and 2), and FlatBuffers' internals document.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.stores.tensor import Extent

IDENTIFIER = b"TFL3"
BUFFERS, DATA, OFFSET, SIZE = 4, 0, 1, 2
ALIGNMENT = 16
"""Of constants, in bytes."""


def constant_buffers(content: bytes) -> Iterator[Extent]:
    """Return where each constant lies. Raises ValueError: no LiteRT file."""
    for table in _tables(content):
        data = _field(content, table, DATA)
        if data:
            start = _at(content, data)
            yield Extent(start + 4, _uint(content, start, 4))
        elif extent := _outside(content, table):
            yield extent


def in_order(content: bytes) -> bytes:
    """Return a file whose constants behind the FlatBuffer lie in the order of its buffers, each at a multiple of 16.

    The converter writes them in an order that differs from run to run. Raises ValueError: no LiteRT file.
    """
    tables = [(table, _outside(content, table)) for table in _tables(content)]
    outside = [(table, extent) for table, extent in tables if extent]
    ordered = bytearray(content[: min((extent.offset for _, extent in outside), default=None)])
    for table, extent in outside:
        ordered += bytes(-len(ordered) % ALIGNMENT)
        place = _field(content, table, OFFSET)
        ordered[place : place + 8] = len(ordered).to_bytes(8, "little")
        ordered += memoryview(content)[extent.offset : extent.offset + extent.nbytes]
    return bytes(ordered)


def _outside(content: bytes, table: int) -> Extent | None:
    """Return where a buffer's constant lies behind the FlatBuffer; None where it lies in it, or is empty."""
    size = _field(content, table, SIZE)
    if _field(content, table, DATA) or not size or not _uint(content, size, 8):
        return None
    return Extent(_uint(content, _field(content, table, OFFSET), 8), _uint(content, size, 8))


def _tables(content: bytes) -> Iterator[int]:
    """Yield where each buffer's table is. Raises ValueError: no LiteRT file."""
    if content[4:8] != IDENTIFIER:
        raise ValueError("it does not begin as a LiteRT file does")
    buffers = _field(content, _at(content, 0), BUFFERS)
    if not buffers:
        return
    vector = _at(content, buffers)
    for number in range(_uint(content, vector, 4)):
        yield _at(content, vector + 4 + 4 * number)


def _at(content: bytes, place: int) -> int:
    """Follow an offset."""
    return place + _uint(content, place, 4)


def _field(content: bytes, table: int, number: int) -> int:
    """Return where a table keeps a field; 0 where it has none."""
    vtable = table - int.from_bytes(content[table : table + 4], "little", signed=True)
    place = 4 + 2 * number
    if place >= _uint(content, vtable, 2):
        return 0
    offset = _uint(content, vtable + place, 2)
    return table + offset if offset else 0


def _uint(content: bytes, place: int, size: int) -> int:
    raw = content[place : place + size]
    if len(raw) != size:
        raise ValueError("an offset beyond the end")
    return int.from_bytes(raw, "little")
