"""TensorFlow's tensor bundle, in which a SavedModel keeps its variables: where each one's bytes lie.

`variables.index` is a sorted table of LevelDB's form, name -> a protocol buffer of dtype, shape and place in the data
file. Source: TensorFlow 2.21, tensor_bundle.proto (BundleHeaderProto, BundleEntryProto), tensor_bundle.cc, and
LevelDB's table_format.md. TensorFlow writes neither compressed blocks nor several data files for a SavedModel: both
are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import limits, more, read_source
from ckptconv.base.presence import size_of
from ckptconv.stores.parsers.protobuf import fields, varint
from ckptconv.stores.tensor import ITEMSIZE, MAX_RANK, Extent, Stored, TensorSpec, require_name

FOOTER_BYTES = 48
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
TRAILER_BYTES = 5
"""After each block: how it is compressed, and its checksum."""
HEADER_KEY = b""
SHARDS = 1
"""Field of the header: how many data files there are."""
DTYPE, SHAPE, OFFSET, SIZE = 1, 2, 4, 5
DIMENSION, DIMENSION_SIZE = 2, 1
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    19: "float16",
}
"""tensorflow.DataType -> dtype; others, such as strings, hold what TensorFlow itself needs."""
VARIABLE = re.compile(r"weights/(?P<name>.+)/\.ATTRIBUTES/VARIABLE_VALUE")
"""Key of a variable in the dictionary `weights` of what was saved."""
ESCAPED = re.compile(r"\.(\.|S)")


def variables(index: Path, data: Path) -> dict[str, Stored]:
    """Return name -> place of each variable of the dictionary `weights`.

    Args: index, data: the two files of a bundle.
    Raises: SourceError: one cannot be read, is malformed, compressed, or of several data files.
    """
    raw = read_source(index, limits().header_bytes + 1)
    if len(raw) > limits().header_bytes:
        raise SourceError(
            f"{index}: more than {limits().header_bytes} bytes; {more('header_bytes')}"
        )
    size = size_of(data)
    try:
        entries = dict(_entries(memoryview(raw)))
        _require_one_file(entries.get(HEADER_KEY, b""))
        stored = (_stored(key, value, data, size) for key, value in entries.items())
        return {place.spec.name: place for place in stored if place is not None}
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{index}: not an index of TensorFlow: {ascii(str(error))[:100]}"
        ) from None


def _entries(raw: memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Return key and value of every entry of a table."""
    footer = raw[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or footer[-len(MAGIC) :] != MAGIC:
        raise ValueError("it does not end as a table does")
    _, place = varint(footer, 0)  # of the block of statistics, which is empty
    _, place = varint(footer, place)
    for _, handle in _block(raw, footer[place:]):
        yield from _block(raw, memoryview(handle))


def _block(raw: memoryview, handle: memoryview) -> Iterator[tuple[bytes, bytes]]:
    """Return the entries of a block; each key gives how much it shares with the one before."""
    offset, place = varint(handle, 0)
    size, _ = varint(handle, place)
    if size < 4 or offset + size + TRAILER_BYTES > len(raw):
        raise ValueError("a block beyond the end")
    if raw[offset + size]:
        raise ValueError("a compressed block, which TensorFlow does not write")
    block = raw[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 * (restarts + 1)
    key, place = b"", 0
    while place < end:
        shared, place = varint(block, place)
        more_bytes, place = varint(block, place)
        length, place = varint(block, place)
        if shared > len(key) or place + more_bytes + length > end:
            raise ValueError("an entry beyond its block")
        key = key[:shared] + bytes(block[place : place + more_bytes])
        place += more_bytes
        yield key, bytes(block[place : place + length])
        place += length


def _require_one_file(header: bytes) -> None:
    shards = dict(fields(memoryview(header))).get(SHARDS, 1)
    if shards != 1:
        raise ValueError("a bundle of several data files")


def _stored(key: bytes, value: bytes, data: Path, file_bytes: int) -> Stored | None:
    """Return the place of a variable; None for what is no variable of the dictionary. Raises ValueError."""
    match = VARIABLE.fullmatch(key.decode())
    if match is None:
        return None
    name = ESCAPED.sub(lambda escape: {".": ".", "S": "/"}[escape[1]], match["name"])
    require_name(name, str(data))
    entry = dict(fields(memoryview(value)))
    kind, offset, size = (_number(entry.get(field, 0)) for field in (DTYPE, OFFSET, SIZE))
    if kind not in DTYPES:
        raise ValueError(f"{name}: of type {kind}, which is no tensor of a model")
    shape = tuple(_shape(entry.get(SHAPE, memoryview(b""))))
    if len(shape) > MAX_RANK:
        raise ValueError(f"{name}: of {len(shape)} axes")
    spec = TensorSpec(name, DTYPES[kind], shape)
    if size != prod(shape) * ITEMSIZE[spec.dtype] or offset + size > file_bytes:
        raise ValueError(f"{name}: {size} bytes at {offset} for {spec.dtype} {list(shape)}")
    return Stored.in_file(spec, data, (Extent(offset, size),))


def _shape(value: int | memoryview) -> Iterator[int]:
    """Return the sizes of a shape's axes."""
    if isinstance(value, int):
        raise ValueError("a shape that is a number")
    for number, axis in fields(value):
        if number == DIMENSION and isinstance(axis, memoryview):
            yield _number(dict(fields(axis)).get(DIMENSION_SIZE, 0))


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes in the place of a number")
    return value
