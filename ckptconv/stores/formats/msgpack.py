"""Flax msgpack: nested maps of names, each array an extension value with shape, dtype and bytes.

Source: flax 0.12.8, serialization.py (`msgpack_serialize`, `_ndarray_to_bytes`, `_chunk`). Read and
written by hand, since the library holds every array in memory. Files equal flax's byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import START_BYTES, FileReader, write_at, wrong_file
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import Contents, Format, TensorPlaces
from ckptconv.stores.parsers import flax_training as training
from ckptconv.stores.parsers import msgpack_tree as msgpack
from ckptconv.stores.parsers.msgpack_tree import Other, PackedArray, Tree
from ckptconv.stores.tensor import (
    ITEMSIZE,
    MAX_RANK,
    Extent,
    Stored,
    TensorSpec,
    is_size,
    require_name,
)

MAX_CHUNK_BYTES = 2**30
"""flax cuts arrays above this size [bytes], since msgpack's own limit is 2**32 - 1."""
CHUNKED = "__msgpack_chunked_array__"


def read(path: Path) -> Contents:
    """Walk the maps without reading array data; see `Format.read`."""
    with FileReader(path) as file:
        start = file.read(0, min(START_BYTES, file.size))
        wrong = wrong_file(path, "Flax msgpack", start, "msgpack")
        if wrong:
            raise wrong
        tree = msgpack.parse(file)
        parameters, notices = training.parameters(tree, path)
        tensors = {stored.spec.name: stored for stored in _leaves(path, parameters, ())}
        replica = training.first_replica(tensors, file)
    if replica is not None:
        tensors, notice = replica
        notices = (*notices, notice)
    return Contents(tensors, notices=notices)


def _leaves(path: Path, tree: Tree, above: tuple[str, ...]) -> Iterator[Stored]:
    """Return every array below a map, named by its path."""
    for key, value in tree.items():
        name = "/".join((*above, key))
        if "/" in key or not key:
            raise SourceError(f"{path}: parameter name {key!a} is empty or contains '/'")
        require_name(name, str(path))
        if isinstance(value, PackedArray):
            yield Stored.in_file(TensorSpec(name, value.dtype, value.shape), path, (value.extent,))
        elif isinstance(value, Other):
            raise SourceError(f"{path}: not a Flax checkpoint: {value.what} at byte {value.at}")
        elif isinstance(value, int):
            raise SourceError(f"{path}: {name!a} is a number, not an array")
        elif CHUNKED in value:
            yield _joined(path, name, value)
        else:
            yield from _leaves(path, value, (*above, key))


def _joined(path: Path, name: str, tree: Tree) -> Stored:
    """Return an array that flax cut: a mark, and maps `shape` and `chunks` with the keys 0, 1 ..."""
    if set(tree) != {CHUNKED, "shape", "chunks"} or tree[CHUNKED] is not True:
        raise SourceError(
            f"{path}: {name!a}: an array in chunks has a mark, a shape and chunks, and nothing else"
        )
    shape, chunks = _numbered(tree["shape"]), _numbered(tree["chunks"])
    arrays = [chunk for chunk in chunks if isinstance(chunk, PackedArray) and len(chunk.shape) == 1]
    spec = TensorSpec(
        name, arrays[0].dtype if arrays else "uint8", tuple(size for size in shape if is_size(size))
    )
    whole = len(arrays) == len(chunks) > 0 and all(array.dtype == spec.dtype for array in arrays)
    plain = len(spec.shape) == len(shape) <= MAX_RANK
    if not whole or not plain or sum(array.extent.nbytes for array in arrays) != spec.nbytes:
        raise SourceError(f"{path}: {name!a}: the chunks do not add up")
    return Stored.in_file(spec, path, tuple(array.extent for array in arrays))


def _numbered(
    value: Tree | PackedArray | Other | int | None,
) -> list[Tree | PackedArray | Other | int | None]:
    """Return the values of a map with the keys 0, 1 ..., as flax writes a tuple."""
    return [value.get(str(index)) for index in range(len(value))] if isinstance(value, dict) else []


def create(
    path: Path, specs: Sequence[TensorSpec], _naming: NamingName, _shard: bool
) -> TensorPlaces:
    """Write every head and leave room for the data; see `Format.create`."""
    tree: dict[str, object] = {}
    for spec in specs:
        *above, leaf = spec.name.split("/")
        node = tree
        for level in above:
            node = node.setdefault(level, {})  # type: ignore[assignment]
        node[leaf] = spec
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        writer = _Writer(fd)
        writer.tree(tree)
        os.truncate(fd, writer.at)
    finally:
        os.close(fd)
    return {name: tuple(extents) for name, extents in writer.places.items()}


class _Writer:
    """A cursor that writes heads and jumps over the data."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.at = 0
        self.places: dict[str, list[Extent]] = {}

    def put(self, data: bytes) -> None:
        write_at(self.fd, self.at, data)
        self.at += len(data)

    def tree(self, tree: dict[str, object]) -> None:
        self.put(msgpack.head(len(tree)))
        for key, value in tree.items():
            self.put(msgpack.text(key))
            if isinstance(value, TensorSpec):
                self.tensor(value)
            else:
                assert isinstance(value, dict)
                self.tree(value)

    def tensor(self, spec: TensorSpec) -> None:
        if spec.nbytes <= MAX_CHUNK_BYTES:
            self.array(spec.name, spec.dtype, spec.shape)
            return
        items = MAX_CHUNK_BYTES // ITEMSIZE[spec.dtype]
        sizes = [min(items, spec.numel - start) for start in range(0, spec.numel, items)]
        self.put(msgpack.head(3) + msgpack.text(CHUNKED) + b"\xc3" + msgpack.text("shape"))
        numbered = (
            msgpack.text(str(index)) + msgpack.number(size) for index, size in enumerate(spec.shape)
        )
        self.put(msgpack.head(len(spec.shape)) + b"".join(numbered))
        self.put(msgpack.text("chunks") + msgpack.head(len(sizes)))
        for index, size in enumerate(sizes):
            self.put(msgpack.text(str(index)))
            self.array(spec.name, spec.dtype, (size,))

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.put(msgpack.array(dtype, shape))
        extent = Extent(self.at, TensorSpec(name, dtype, shape).nbytes)
        self.places.setdefault(name, []).append(extent)
        self.at += extent.nbytes


FORMAT = Format("msgpack", ("flax",), read, create)
