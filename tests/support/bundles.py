"""TensorFlow's tensor bundles, written without TensorFlow, and artefacts around them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.stores.parsers.tensor_bundle import MAGIC


def varint(number: int) -> bytes:
    """Return a number of 7 bits a byte."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    """Return a field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: dict[bytes, bytes]) -> bytes:
    """Return a block of a table, each key cut by what it shares with the one before."""
    content, before = b"", b""
    for key, value in sorted(entries.items()):
        shared = next(
            (n for n in range(min(len(key), len(before))) if key[n] != before[n]),
            min(len(key), len(before)),
        )
        rest = key[shared:]
        content += varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value
        before = key
    return content + struct.pack("<II", 0, 1)


def table(entries: dict[bytes, bytes]) -> bytes:
    """Return a table of two blocks, as TensorFlow writes it."""
    keys = sorted(entries)
    raw, index = b"", {}
    for part in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
        if part:
            content = block({key: entries[key] for key in part})
            index[part[-1]] = varint(len(raw)) + varint(len(content))
            raw += content + bytes(5)
    content = block(index)
    handles = varint(0) + varint(0) + varint(len(raw)) + varint(len(content))
    return raw + content + bytes(5) + handles.ljust(40, b"\0") + MAGIC


def bundle(
    folder: Path, tensors: Mapping[str, Any], data: bytes = b"", **header: int
) -> tuple[Path, Path]:
    """Write a bundle of float32 tensors, one after the other; return its two files.

    Args: tensors: name -> shape. data: their bytes; zeros where there are none.
    """
    entries = {b"": field(1, header.get("shards", 1))}
    entries[b"_CHECKPOINTABLE_OBJECT_GRAPH"] = field(1, 7) + field(5, 3)
    place = 0
    for name, shape in tensors.items():
        size = 4
        for axis in shape:
            size *= axis
        escaped = name.replace(".", "..").replace("/", ".S")
        axes = b"".join(field(2, field(1, axis)) for axis in shape)
        value = field(1, 1) + field(2, axes) + field(4, place) + field(5, size)
        entries[f"weights/{escaped}/.ATTRIBUTES/VARIABLE_VALUE".encode()] = value
        place += size
    index, file = folder / "variables.index", folder / "variables.data-00000-of-00001"
    index.write_bytes(table(entries))
    file.write_bytes(data or bytes(place))
    return index, file


RECORD: dict[str, Any] = {
    "artefact": 1,
    "format": "savedmodel",
    "limits": {"encoder": None, "decoder": None},
    "search": {},
    "weights": [],
    "programs": {
        name: {"file": "program", "inputs": [{"name": "input_ids"}], "outputs": []}
        for name in ("encode", "step")
    },
}


def saved_model(source: Path, arrays: Mapping[str, Any], folder: Path) -> Path:
    """Write what `export --format savedmodel` would of float32 tensors, but for the programs."""
    _copy_config(source, folder)
    (folder / "variables").mkdir()
    shapes = {name: list(np.shape(array)) for name, array in arrays.items()}
    data = b"".join(np.float32(array).tobytes() for array in arrays.values())
    bundle(folder / "variables", shapes, data)
    (folder / "artefact.json").write_text(json.dumps(RECORD))
    return folder


def litert(
    source: Path, arrays: Mapping[str, Any], folder: Path, converted: str, **changes: Any
) -> Path:
    """Write what `export --format litert` would, every second matrix turned, and one tensor made something else."""
    _copy_config(source, folder)
    content, stored = b"TFL3", {}
    for number, (name, array) in enumerate(arrays.items()):
        if name == converted:
            continue
        turned = bool(np.ndim(array) == 2 and number % 2)
        place = {"offset": len(content), "transposed": turned}
        stored[name] = {"dtype": "float32", "shape": list(np.shape(array)), **place}
        content += np.ascontiguousarray(np.float32(array).T if turned else array, "<f4").tobytes()
    (folder / "model.tflite").write_bytes(content)
    record = RECORD | {"format": "litert", "stored": stored, "converted": [converted], **changes}
    (folder / "artefact.json").write_text(json.dumps(record))
    return folder


def _copy_config(source: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
