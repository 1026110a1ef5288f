"""safetensors: equal to the reference library's files, and stricter where it lets things pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ckptconv.base.errors import SourceError
from ckptconv.schema.tensors import NAMING_NAMES, NamingName
from ckptconv.stores.formats.safetensors import CODES, create, create_with, read
from ckptconv.stores.tensor import ITEMSIZE, Extent, Stored, TensorSpec

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADER = '{"__metadata__":{"format":"pt"},"m":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'


def pour(
    path: Path, specs: list[TensorSpec], data: dict[str, bytes], naming: NamingName = "pytorch"
) -> Path:
    """Create a file and write the data at its places."""
    places = create(path, specs, naming, False)
    with path.open("r+b") as file:
        for name, value in data.items():
            file.seek(places[name][0].offset)
            file.write(value)
    return path


def file_of(path: Path, header: str | dict[str, Any], data: bytes = b"") -> Path:
    """Write a file by hand."""
    raw = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def test_every_byte(tmp_path: Path) -> None:
    """A 2 x 2 tensor: length, header padded to eight, then four floats."""
    data = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    path = pour(tmp_path / "w", [TensorSpec("m", "float32", (2, 2))], {"m": data})
    padded = HEADER.encode() + b" " * (-len(HEADER) % 8)
    assert path.read_bytes() == len(padded).to_bytes(8, "little") + padded + data
    spec = TensorSpec("m", "float32", (2, 2))
    assert read(path).tensors == {"m": Stored.in_file(spec, path, (Extent(8 + len(padded), 16),))}


@pytest.mark.parametrize("naming", NAMING_NAMES)
def test_same_file_as_the_reference(tmp_path: Path, naming: NamingName) -> None:
    """Every dtype, names that sort oddly, scalars and empty tensors: byte for byte `save_file`'s file."""
    rng = np.random.default_rng(2)
    shapes = [(), (0, 3), (7,), (2, 3)]
    specs = [
        TensorSpec(f"{name}{n}", dtype, shapes[(n + len(name)) % 4])
        for n, dtype in enumerate(ITEMSIZE)
        for name in ("b", "B_", "é", 'q"\\', "\U0001f600")
    ]
    data = {spec.name: rng.bytes(spec.nbytes) for spec in specs}
    path = pour(tmp_path / "ours", specs, data, naming)
    types = {"bfloat16": ml_dtypes.bfloat16}
    arrays = {
        spec.name: np.frombuffer(data[spec.name], types.get(spec.dtype, spec.dtype)).reshape(
            spec.shape
        )
        for spec in specs
    }
    tag = {"pytorch": "pt"}.get(naming, naming)
    save_file(arrays, tmp_path / "theirs", {"format": tag})
    assert path.read_bytes() == (tmp_path / "theirs").read_bytes()
    assert read(path).metadata == {"format": tag}


def test_the_reference_reads_it(tmp_path: Path) -> None:
    """The library loads what was written, and ckptconv knows every dtype that it does but the unsigned wide."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = pour(tmp_path / "w", [TensorSpec("m", "float32", (2, 3))], {"m": array.tobytes()})
    ((name, result),) = load_file(path).items()
    assert (name, result.dtype, result.tolist()) == ("m", np.float32, array.tolist())
    assert sorted(CODES) == sorted(ITEMSIZE)


def test_flax_names_are_joined_with_dots(tmp_path: Path) -> None:
    """In the file stand transformers' dots, in the tables Flax's slashes."""
    spec = TensorSpec("encoder/layer/0/kernel", "float32", (1,))
    path = pour(tmp_path / "w", [spec], {spec.name: bytes(4)}, "flax")
    assert list(load_file(path)) == ["encoder.layer.0.kernel"]
    assert list(read(path).tensors) == [spec.name]


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ("[]", b"", "the header does not begin with '{'"),
        ('{"a":1', b"", "not valid JSON"),
        (' {"a":1}', b"", "the header does not begin with '{'"),
        ({"__metadata__": {"format": 1}}, b"", "__metadata__ must map names to strings"),
        ({"__metadata__": None}, b"", "__metadata__ must map names to strings"),
        ({"m": [1]}, b"", "expected the fields data_offsets, dtype, shape"),
        ({"m": {**ENTRY, "extra": 1}}, bytes(8), "expected the fields data_offsets, dtype, shape"),
        (
            {"m": {**ENTRY, "dtype": "F8_E4M3"}},
            bytes(8),
            "dtype 'F8_E4M3' is not one that ckptconv moves",
        ),
        ({"m": {**ENTRY, "dtype": ["F32"]}}, bytes(8), "is not one that ckptconv moves"),
        ({"m": {**ENTRY, "shape": [2.0]}}, bytes(8), "must be lists of integers"),
        ({"m": {**ENTRY, "shape": [-2]}}, bytes(8), "must be lists of integers"),
        ({"m": {**ENTRY, "shape": [True]}}, bytes(8), "must be lists of integers"),
        ({"m": {**ENTRY, "data_offsets": [0, 4, 8]}}, bytes(8), "must be lists of integers"),
        ({"m": {**ENTRY, "data_offsets": [8, 0]}}, bytes(8), "takes 8 bytes, the header gives -8"),
        ({"m": {**ENTRY, "shape": [1 << 40, 1 << 40]}}, bytes(8), "the header gives 8"),
        ({"m": {**ENTRY, "data_offsets": [4, 12]}}, bytes(12), "a hole in the data before 'm'"),
        (
            {"m": ENTRY, "n": {**ENTRY, "data_offsets": [4, 12]}},
            bytes(12),
            "an overlap in the data before 'n'",
        ),
        ({"m": ENTRY}, bytes(9), "the header describes"),
        ({"m": ENTRY}, bytes(7), "the header describes"),
        (
            '{"m":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"m":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            bytes(8),
            "key 'm' stands twice",
        ),
        (
            {
                "__metadata__": {"format": "flax"},
                "a.b": ENTRY,
                "a/b": {**ENTRY, "data_offsets": [8, 16]},
            },
            bytes(16),
            "two names differ only in",
        ),
    ],
)
def test_a_header_that_breaks_a_rule(
    tmp_path: Path, header: str | dict[str, Any], data: bytes, reason: str
) -> None:
    """Each rule of the format has its refusal, with the file's name."""
    path = file_of(tmp_path / "w", header, data)
    with pytest.raises(SourceError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert reason in str(refusal.value)


@pytest.mark.parametrize("length", [100_000_001, 2**63, 2**64 - 1])
def test_an_enormous_header_is_not_read(tmp_path: Path, length: int) -> None:
    """The announced length is checked before anything is taken from memory."""
    (tmp_path / "w").write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(SourceError, match=f"claims a header of {length} bytes"):
        read(tmp_path / "w")


def test_a_name_in_a_message_is_escaped_and_cut(tmp_path: Path) -> None:
    """A name from a file can neither steer a terminal nor fill it."""
    path = file_of(tmp_path / "w", {"\x1b[31m" + "a" * 5000: {}})
    with pytest.raises(SourceError) as refusal:
        read(path)
    assert "\x1b" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_names_that_were_left_out(tmp_path: Path) -> None:
    """`save_model` of the library names in the metadata what shares memory with what it kept: both are there."""
    spec = TensorSpec("kept", "float32", (2,))
    create_with(tmp_path / "m", [spec], {"left.out": "kept", "format": "pt", "other": "text"})
    tensors = read(tmp_path / "m").tensors
    assert set(tensors) == {"kept", "left.out"}
    assert tensors["left.out"].chunks == tensors["kept"].chunks
    assert tensors["left.out"].spec.name == "left.out"
    create_with(tmp_path / "n", [spec], {"\x1b[31m": "kept"})
    with pytest.raises(SourceError, match="does not print"):
        read(tmp_path / "n")
