"""Which tensors an ONNX graph points at outside of itself: the initialisers of its protobuf, read as data.

Only the path ModelProto.graph -> GraphProto.initializer -> TensorProto is followed. Source: onnx.proto of ONNX 1.23,
fields ModelProto.graph = 7, GraphProto.initializer = 5, TensorProto.dims = 1, data_type = 2, name = 8,
external_data = 13 (StringStringEntryProto key = 1, value = 2), data_location = 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import read_source
from ckptconv.stores.parsers.protobuf import fields, varint

MOST_BYTES = 1 << 28
"""Of a graph; its weights lie elsewhere."""
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, EXTERNAL, LOCATION = 1, 2, 8, 13, 14
DTYPES = {
    1: "F32",
    2: "U8",
    3: "I8",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    16: "BF16",
}
"""TensorProto.DataType -> as safetensors spells it."""


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """An initialiser whose bytes lie in another file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    nbytes: int


def external_tensors(path: Path) -> tuple[ExternalTensor, ...]:
    """Return what a graph points at. Raises SourceError: it cannot be read, or is no ONNX file."""
    raw = read_source(path, MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise SourceError(f"{path}: more than {MOST_BYTES} bytes, which is no graph of `export`.")
    try:
        return tuple(_external(memoryview(raw)))
    except (IndexError, ValueError, KeyError) as error:
        raise SourceError(f"{path}: no ONNX file: {ascii(str(error))[:100]}") from None


def _external(raw: memoryview) -> Iterator[ExternalTensor]:
    for number, graph in fields(raw):
        if number != GRAPH or not isinstance(graph, memoryview):
            continue
        for inner, tensor in fields(graph):
            if inner == INITIALIZER and isinstance(tensor, memoryview):
                entry = _tensor(tensor)
                if entry:
                    yield entry


def _tensor(raw: memoryview) -> ExternalTensor | None:
    shape: list[int] = []
    places: dict[str, str] = {}
    name, dtype, outside = "", 0, False
    for number, value in fields(raw):
        if number == DIMS:
            shape += list(_numbers(value)) if isinstance(value, memoryview) else [value]
        elif number == DATA_TYPE and isinstance(value, int):
            dtype = value
        elif number == NAME and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif number == EXTERNAL and isinstance(value, memoryview):
            texts = {
                field: bytes(text).decode()
                for field, text in fields(value)
                if not isinstance(text, int)
            }
            places[texts[1]] = texts[2]
        elif number == LOCATION:
            outside = value == 1
    if not outside:
        return None
    return ExternalTensor(
        name,
        DTYPES[dtype],
        tuple(shape),
        places["location"],
        int(places.get("offset", "0")),
        int(places["length"]),
    )


def _numbers(raw: memoryview) -> Iterator[int]:
    """Return packed varints."""
    place = 0
    while place < len(raw):
        number, place = varint(raw, place)
        yield number
