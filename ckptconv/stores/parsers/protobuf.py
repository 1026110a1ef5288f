"""Protocol buffers on the wire: the fields of a message, without a schema.

Source: the format's documentation ("Encoding"). Groups, which nobody writes any more, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(raw: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Return number and value of each field of a message: a number, or bytes."""
    place = 0
    while place < len(raw):
        tag, place = varint(raw, place)
        kind = tag & 7
        if kind == VARINT:
            value, place = varint(raw, place)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            size, place = varint(raw, place)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if place + size > len(raw):
            raise ValueError("a field that ends beyond its message")
        yield tag >> 3, raw[place : place + size]
        place += size


def varint(raw: memoryview, place: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, the lowest first, and the place after it."""
    number = shift = 0
    while shift < 70:
        byte = raw[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
    raise ValueError("a number that does not end")
