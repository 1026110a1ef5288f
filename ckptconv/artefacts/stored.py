"""Where tensors lie in an artefact's safetensors files: what graphs point at. Knows no framework."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.strict_json import Json, parse_json
from ckptconv.base.weight_names import FILE_NAMES

WEIGHTS = FILE_NAMES["safetensors"]
"""The checkpoint's weights, as `normalize` writes them."""
CONSTANTS = "constants.safetensors"
"""What a class computes and stores nowhere: tables of sines, masks."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file."""

    dtype: str
    """As safetensors spells it: `F32`."""
    shape: tuple[int, ...]
    offset: int
    """From the file's first byte."""
    nbytes: int


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Return name -> place, of a file that this run has written. Raises OSError, ValueError, KeyError."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = parse_json(file.read(size), str(path))
    return {
        name: _stored(value, 8 + size)
        for name, value in sorted(header.items())
        if name != "__metadata__" and isinstance(value, Mapping)
    }


def _stored(value: Mapping[str, Json], start: int) -> StoredTensor:
    shape, places, dtype = value["shape"], value["data_offsets"], value["dtype"]
    if not isinstance(shape, list) or not isinstance(places, list) or not isinstance(dtype, str):
        raise TypeError("a malformed safetensors header")
    first, last = (int(str(place)) for place in places)
    return StoredTensor(dtype, tuple(int(str(size)) for size in shape), start + first, last - first)
