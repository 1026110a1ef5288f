"""safetensors: eight bytes of header length, a JSON header, the data without holes.

Source: the format's own README (huggingface/safetensors, "Format"). Stricter than the reference library,
which lets duplicate names, unknown fields and unprintable names pass. Written files equal its own byte for byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from ckptconv.base.errors import SourceError
from ckptconv.base.files import START_BYTES, FileReader, limits, more, write_at, wrong_file
from ckptconv.base.strict_json import Json, parse_json
from ckptconv.schema.namings.tf import flat, unflat
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import FORMAT_TAGS, Contents, Format, TensorPlaces
from ckptconv.stores.tensor import (
    MAX_RANK,
    Extent,
    Stored,
    TensorSpec,
    is_size,
    quantised_dtype,
    require_name,
)

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "F32": "float32",
    "F64": "float64",
    "I64": "int64",
}
"""In the order in which the reference sorts them: the wider first in the file."""
CODES = {dtype: code for code, dtype in DTYPES.items()}
RANK = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}

JOINER = {"flax": "."}
"""transformers joins Flax's nested names with dots here, and with slashes in the index of msgpack shards."""

FIELDS = {"dtype", "shape", "data_offsets"}


def read(path: Path) -> Contents:
    """Read the header; see `Format.read`."""
    with FileReader(path) as file:
        raw, size = _header(file), file.size
    header = parse_json(raw, f"{path}: header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise SourceError(f"{path}: header: __metadata__ must map names to strings")
    if len(header) > limits().tensors:
        raise SourceError(f"{path}: header: {len(header)} tensors; {more('tensors')}")
    joiner = JOINER.get(str(metadata.get("format")), "")
    tensors = {}
    for spelled, entry in header.items():
        require_name(spelled, f"{path}: header")
        name = spelled.replace(joiner, "/") if joiner else spelled
        name = unflat(name) if metadata.get("format") == FORMAT_TAGS["tf"] else name
        tensors[name] = _stored(name, entry, path, 8 + len(raw))
    if len(tensors) != len(header):
        raise SourceError(f"{path}: header: two names differ only in '/' and {joiner!r}")
    _check_no_holes(path, tensors, 8 + len(raw), size)
    texts = {name: str(value) for name, value in metadata.items()}
    return Contents({**tensors, **_aliases(path, tensors, texts)}, texts)


def _aliases(
    path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str]
) -> dict[str, Stored]:
    """Return the tensors that were left out since another one shares their memory.

    Source: safetensors 0.8, torch.py (`save_model`): the metadata gives the name that was kept for each.
    """
    aliases = {}
    for name, target in metadata.items():
        if name not in tensors and target in tensors:
            require_name(name, f"{path}: header: __metadata__")
            stored = tensors[target]
            aliases[name] = replace(stored, spec=stored.spec.renamed(name))
    return aliases


def _header(file: FileReader) -> bytes:
    """Return the JSON, with the spaces behind it that align the data."""
    start = file.read(0, min(file.size, START_BYTES))
    length = int.from_bytes(start[:8], "little")
    if length > file.size - 8 or start[8:9] != b"{":
        wrong = wrong_file(file.path, "safetensors", start, "safetensors")
        if wrong:
            raise wrong
        file.read(0, 8)  # shorter than that, it is cut short
    if length > file.size - 8:
        raise SourceError(
            f"{file.path}: not a safetensors file: it claims a header of {length} bytes"
        )
    if length > limits().header_bytes:
        raise SourceError(f"{file.path}: a header of {length} bytes; {more('header_bytes')}")
    raw = file.read(8, length)
    if raw[:1] != b"{":
        raise SourceError(
            f"{file.path}: not a safetensors file: the header does not begin with '{{'"
        )
    if raw.rstrip(b" ") != raw.rstrip():
        raise SourceError(f"{file.path}: header: what follows the JSON must be spaces")
    return raw


def _stored(name: str, entry: Json, path: Path, base: int) -> Stored:
    """Turn one header entry into a place. Raises SourceError where a field is not as the format says."""
    where = f"{path}: header: {ascii(name)[:200]}"
    if not isinstance(entry, dict) or set(entry) != FIELDS:
        raise SourceError(f"{where}: expected the fields {', '.join(sorted(FIELDS))}")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise SourceError(
            f"{where}: dtype {ascii(code)[:40]} is not one that ckptconv moves"
            f"{quantised_dtype(code) if isinstance(code, str) else ''}"
        )
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise SourceError(
            f"{where}: shape and data_offsets must be lists of integers, at most {MAX_RANK}"
        )
    spec = TensorSpec(name, DTYPES[code], tuple(shape))
    begin, end = offsets
    if end - begin != spec.nbytes:
        raise SourceError(
            f"{where}: {code} {list(shape)} takes {spec.nbytes} bytes, the header gives {end - begin}"
        )
    return Stored.in_file(spec, path, (Extent(base + begin, spec.nbytes),))


def _sizes(value: Json) -> TypeGuard[list[int]]:
    """Tell whether this is a list of at most MAX_RANK sizes; a longer one could be multiplied for hours."""
    return isinstance(value, list) and len(value) <= MAX_RANK and all(map(is_size, value))


def _check_no_holes(path: Path, tensors: Mapping[str, Stored], base: int, size: int) -> None:
    """Refuse overlaps, holes and trailing bytes, as the format demands."""
    position = base
    for stored in sorted(
        tensors.values(), key=lambda stored: (stored.chunks[0].offset, stored.spec.nbytes)
    ):
        extent = stored.extents[0]
        if extent.offset != position:
            kind = "a hole" if extent.offset > position else "an overlap"
            raise SourceError(f"{path}: {kind} in the data before {ascii(stored.spec.name)[:200]}")
        position += extent.nbytes
    if position != size:
        raise SourceError(
            f"{path}: the header describes {position} bytes, the file has {size}.\nFetch or save it again."
        )


def create(
    path: Path, specs: Sequence[TensorSpec], naming: NamingName, _shard: bool
) -> TensorPlaces:
    """Write header and length; see `Format.create`. The order is the reference's: dtype, then name."""
    spelled = {spec.name: flat(spec.name) if naming == "tf" else spec.name for spec in specs}
    renamed = [spec.renamed(spelled[spec.name]) for spec in specs]
    joiner = JOINER.get(FORMAT_TAGS[naming], "/")
    places = create_with(path, renamed, {"format": FORMAT_TAGS[naming]}, joiner)
    return {name: places[spelling] for name, spelling in spelled.items()}


def create_with(
    path: Path, specs: Sequence[TensorSpec], metadata: Mapping[str, str], joiner: str = "/"
) -> TensorPlaces:
    """Write header and length with metadata of one's own; `joiner` stands where names have a slash."""
    ordered = sorted(specs, key=lambda spec: (-RANK[spec.dtype], spec.name.replace("/", joiner)))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    places, position = {}, 0
    for spec in ordered:
        end = position + spec.nbytes
        entry = {
            "dtype": CODES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [position, end],
        }
        header[spec.name.replace("/", joiner)] = entry
        places[spec.name] = Extent(position, spec.nbytes)
        position = end
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    base = 8 + len(raw)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_at(fd, 0, len(raw).to_bytes(8, "little") + raw)
        os.truncate(fd, base + position)
    finally:
        os.close(fd)
    return {name: (Extent(base + extent.offset, extent.nbytes),) for name, extent in places.items()}


FORMAT = Format("safetensors", ("pytorch", "tf", "flax"), read, create)
