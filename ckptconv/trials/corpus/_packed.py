"""A Flax msgpack file of the small model, whole and with each of its parts spoilt."""

from __future__ import annotations

from typing import TypeAlias

from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats.msgpack import CHUNKED
from ckptconv.stores.parsers import msgpack_tree as msgpack
from ckptconv.trials.corpus._model import CONFIG, values

Tree: TypeAlias = "dict[str, Tree | bytes]"


def array(shape: tuple[int, ...] = (3,), dtype: str = "float32") -> bytes:
    """Return a sound array of float32 values, or of another dtype of that size."""
    return msgpack.array(dtype, shape) + values(shape)


def model() -> Tree:
    """Return the whole model, as nested maps of packed arrays."""
    tree: Tree = {}
    for row in read_model(Config(CONFIG)).tensors:
        if row.module.presence != "required" or row.tied_to or "flax" not in row.spellings:
            continue
        node = tree
        *above, leaf = row.spellings["flax"].names[0].split("/")
        for level in above:
            below = node.setdefault(level, {})
            assert isinstance(below, dict)
            node = below
        node[leaf] = array(row.shape("flax"))
    return tree


def packed(value: Tree | bytes) -> bytes:
    """Return a map, or what is packed already."""
    if isinstance(value, bytes):
        return value
    return msgpack.head(len(value)) + b"".join(
        msgpack.text(key) + packed(item) for key, item in value.items()
    )


def leaf(value: bytes) -> bytes:
    """Return the model with one more value."""
    return packed(model() | {"x": value})


def key(key: bytes, value: bytes | None = None) -> bytes:
    """Return the model with one more entry, under a key that is packed already."""
    tree = model()
    return (
        msgpack.head(len(tree) + 1) + key + (array() if value is None else value) + packed(tree)[1:]
    )


def ext(payload: bytes, code: int = 1, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return b"\xc8" + size.to_bytes(2, "big") + bytes([code]) + payload


def one_array(
    head: bytes = b"\x93",
    shape: bytes = b"\x91\x03",
    dtype: bytes = b"\xa7float32",
    data: bytes = b"\xc4\x0c" + bytes(12),
) -> bytes:
    """Return the model with one more array, whose parts are packed by hand."""
    return leaf(ext(head + shape + dtype + data))


def length(by: int) -> bytes:
    payload = b"\x93\x91\x03\xa7float32\xc4\x0c" + bytes(12)
    return leaf(ext(payload, length=len(payload) + by))


def chunks(**changes: bytes | None) -> bytes:
    """Return the model with one more array of six values in two chunks; None leaves a key out."""
    parts: dict[str, bytes | None] = {
        CHUNKED: b"\xc3",
        "shape": packed({"0": b"\x02", "1": b"\x03"}),
        "chunks": packed({"0": array(), "1": array()}),
    }
    entries = {key: value for key, value in (parts | changes).items() if value is not None}
    return leaf(
        msgpack.head(len(entries))
        + b"".join(msgpack.text(key) + value for key, value in entries.items())
    )


def marked(mark: bytes) -> bytes:
    return chunks(**{CHUNKED: mark})


def nested(depth: int) -> bytes:
    return b"\x81\xa1a" * depth + b"\x80"
