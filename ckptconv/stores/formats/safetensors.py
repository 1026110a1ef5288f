"""safetensors: eight bytes of header length, a JSON header, the data without holes.

Source: the format's own README (huggingface/safetensors, "Format"). Stricter than the reference library,
which lets duplicate names, unknown fields and unprintable names pass. Written files equal its own byte for byte.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TypeGuard

from ckptconv.base.errors import SourceError
from ckptconv.base.files import START_BYTES, FileReader, limits, more, write_at, wrong_file
from ckptconv.base.strict_json import Json, in_words, parse_json
from ckptconv.schema.namings.tf import flat, unflat
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import FORMAT_TAGS, Contents, Format, TensorPlaces
from ckptconv.stores.tensor import (
    MAX_RANK,
    Chunk,
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
ENTRIES = 64
"""Of a header, written together: 100,000 of them take 60 MB before they are text."""
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


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
    where, flattened = f"{path}: header", metadata.get("format") == FORMAT_TAGS["tf"]
    tensors, shapes, names = {}, _Shapes(), list(header)
    for spelled in names:
        require_name(spelled, where)
        name = spelled.replace(joiner, "/") if joiner else spelled
        name = unflat(name) if flattened else name
        # An entry of the header takes more than what it says, and is not needed any more.
        tensors[name] = _stored(name, header.pop(spelled), path, 8 + len(raw), shapes)
    if len(tensors) != len(names):
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


class _Shapes(dict[tuple[int, ...], tuple[int, ...]]):
    """Each shape once: models repeat theirs in every layer."""

    def __missing__(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self[shape] = shape
        return shape


def _stored(name: str, entry: Json, path: Path, base: int, shapes: _Shapes) -> Stored:
    """Turn one header entry into a place. Raises SourceError where a field is not as the format says."""
    if not isinstance(entry, dict) or entry.keys() != FIELDS:
        raise _malformed(path, name, f"expected the fields {', '.join(sorted(FIELDS))}")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        advice = quantised_dtype(code) if isinstance(code, str) else ""
        raise _malformed(
            path, name, f"dtype {in_words(code)} is not one that ckptconv moves{advice}"
        )
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        what = f"shape and data_offsets must be lists of integers, at most {MAX_RANK}"
        raise _malformed(path, name, what)
    spec = TensorSpec(name, DTYPES[code], shapes[tuple(shape)])
    begin, end = offsets
    nbytes = spec.nbytes
    if end - begin != nbytes:
        what = f"{code} {list(shape)} takes {nbytes} bytes, the header gives {end - begin}"
        raise _malformed(path, name, what)
    return Stored(spec, (Chunk(path, base + begin, nbytes),))


def _malformed(path: Path, name: str, what: str) -> SourceError:
    return SourceError(f"{path}: header: {ascii(name)[:200]}: {what}")


def _sizes(value: Json) -> TypeGuard[list[int]]:
    """Tell whether this is a list of at most MAX_RANK sizes; a longer one could be multiplied for hours."""
    return isinstance(value, list) and len(value) <= MAX_RANK and all(map(is_size, value))


def _check_no_holes(path: Path, tensors: Mapping[str, Stored], base: int, size: int) -> None:
    """Refuse overlaps, holes and trailing bytes, as the format demands."""
    position = base
    for stored in sorted(
        tensors.values(), key=lambda stored: (stored.chunks[0].offset, stored.chunks[0].nbytes)
    ):
        chunk = stored.chunks[0]
        if chunk.offset != position:
            kind = "a hole" if chunk.offset > position else "an overlap"
            raise SourceError(f"{path}: {kind} in the data before {ascii(stored.spec.name)[:200]}")
        position += chunk.nbytes
    if position != size:
        raise SourceError(
            f"{path}: the header describes {position} bytes, the file has {size}.\nFetch or save it again."
        )


def create(
    path: Path, specs: Sequence[TensorSpec], naming: NamingName, _shard: bool
) -> TensorPlaces:
    """Write header and length; see `Format.create`. The order is the reference's: dtype, then name."""
    joiner = JOINER.get(FORMAT_TAGS[naming], "/")

    def spelled(name: str) -> str:
        return (flat(name) if naming == "tf" else name).replace("/", joiner)

    return create_with(path, specs, {"format": FORMAT_TAGS[naming]}, spelled)


def create_with(
    path: Path,
    specs: Sequence[TensorSpec],
    metadata: Mapping[str, str],
    spelled: Callable[[str], str] = str,
) -> TensorPlaces:
    """Write header and length with metadata of one's own; `spelled` gives a name as the file has it."""
    ordered = [
        specs[number]
        for _, _, number in sorted(
            (-RANK[spec.dtype], spelled(spec.name), number) for number, spec in enumerate(specs)
        )
    ]
    ends = array("q", accumulate((spec.nbytes for spec in ordered), initial=0))
    texts = [_ENCODE({"__metadata__": dict(metadata)})[1:-1]]
    for start in range(0, len(ordered), ENTRIES):
        header = {
            spelled(spec.name): {
                "dtype": CODES[spec.dtype],
                "shape": spec.shape,
                "data_offsets": (ends[number], ends[number + 1]),
            }
            for number, spec in enumerate(ordered[start : start + ENTRIES], start)
        }
        texts.append(_ENCODE(header)[1:-1])
    raw = f"{{{','.join(texts)}}}".encode()
    raw += b" " * (-len(raw) % 8)
    base = 8 + len(raw)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_at(fd, 0, len(raw).to_bytes(8, "little") + raw)
        os.truncate(fd, base + ends[-1])
    finally:
        os.close(fd)
    return {
        spec.name: (Extent(base + ends[number], ends[number + 1] - ends[number]),)
        for number, spec in enumerate(ordered)
    }


FORMAT = Format("safetensors", ("pytorch", "tf", "flax"), read, create)
