"""Flax msgpack: equal to flax's own files, whose library also reads ours; anything else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader, limited
from ckptconv.stores.formats import msgpack as form
from ckptconv.stores.tensor import ITEMSIZE, TensorSpec

SHAPES: tuple[tuple[int, ...], ...] = (
    (),
    (0,),
    (5,),
    (6,),
    (2, 2),
    (3, 200),
    (1, 2, 3),
    (300, 100),
)
NUMPY = {"bfloat16": ml_dtypes.bfloat16}


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Return an array of every dtype and shape; their sizes need every kind of head that msgpack has."""
    rng = np.random.default_rng(1)
    result = {}
    for dtype in ITEMSIZE:
        for number, shape in enumerate(SHAPES):
            data = rng.bytes(int(np.prod(shape)) * ITEMSIZE[dtype])
            array = np.frombuffer(data, NUMPY.get(dtype, dtype)).reshape(shape)
            result[f"{dtype}/name{' of some length' * 3 * number}/{number}"] = array
    return result | {f"many/{n}/bias": np.full(1, n, np.float32) for n in range(20)}


def tree(flat: dict[str, Any]) -> dict[str, Any]:
    """Return nested maps."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *above, leaf = name.split("/")
        node = nested
        for level in above:
            node = node.setdefault(level, {})
        node[leaf] = value
    return nested


def pour(path: Path, flat: dict[str, np.ndarray[Any, Any]]) -> Path:
    """Write arrays with `create` and the bytes at its places, across their chunks."""
    specs = [TensorSpec(name, str(array.dtype), array.shape) for name, array in flat.items()]
    places = form.create(path, specs, "flax", False)
    with path.open("r+b") as file:
        for name, array in flat.items():
            data = array.tobytes()
            for extent in places[name]:
                file.seek(extent.offset)
                file.write(data[: extent.nbytes])
                data = data[extent.nbytes :]
            assert data == b""
    return path


def taken(path: Path) -> dict[str, bytes]:
    """Return every array's bytes, read through `read`."""
    with FileReader(path) as file:
        return {
            name: b"".join(file.read(extent.offset, extent.nbytes) for extent in stored.extents)
            for name, stored in form.read(path).tensors.items()
        }


def packed(array: np.ndarray[Any, Any]) -> msgpack.ExtType:
    """Return an array as flax packs it, with msgpack's own library."""
    return msgpack.ExtType(
        1, msgpack.packb((array.shape, array.dtype.name, array.tobytes()), use_bin_type=True)
    )


def test_every_byte(tmp_path: Path) -> None:
    """A 2 x 2 tensor: two maps, an extension of 30 bytes, and in it shape, dtype and four floats."""
    data = np.array([[1, 2], [3, 4]], np.float32)
    head = (
        b"\x81\xa1a\x81\xa1m"
        + b"\xc7\x1e\x01"
        + b"\x93"
        + b"\x92\x02\x02"
        + b"\xa7float32"
        + b"\xc4\x10"
    )
    path = pour(tmp_path / "w", {"a/m": data})
    assert path.read_bytes() == head + data.tobytes()
    assert taken(path) == {"a/m": data.tobytes()}


def test_same_file_as_the_library(tmp_path: Path) -> None:
    """Every dtype, shape and length: byte for byte what msgpack packs from flax's tuples."""
    flat = arrays()
    expected = msgpack.packb(
        tree({name: packed(array) for name, array in flat.items()}), strict_types=True
    )
    assert pour(tmp_path / "w", flat).read_bytes() == expected
    assert taken(tmp_path / "w") == {name: array.tobytes() for name, array in flat.items()}


@pytest.mark.frameworks
@pytest.mark.parametrize("limit", [2**30, 1000, 64, 9])
def test_same_file_as_flax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Flax's `to_bytes` gives the same file, also where arrays above a limit are cut into chunks."""
    from flax import serialization

    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", limit)
    monkeypatch.setattr(form, "MAX_CHUNK_BYTES", limit)
    flat = {name: array for name, array in arrays().items() if limit > 1000 or array.size < 1000}
    assert pour(tmp_path / "w", flat).read_bytes() == serialization.to_bytes(tree(flat))
    assert taken(tmp_path / "w") == {name: array.tobytes() for name, array in flat.items()}


def test_chunks_come_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array above the limit lies in chunks of whole items, and is one tensor again when read."""
    monkeypatch.setattr(form, "MAX_CHUNK_BYTES", 10)
    array = np.arange(77, dtype=np.float32).reshape(7, 11)
    path = pour(tmp_path / "w", {"a/m": array})
    stored = form.read(path).tensors["a/m"]
    assert (stored.spec.shape, [extent.nbytes for extent in stored.extents]) == (
        (7, 11),
        [8] * 38 + [4],
    )
    assert taken(path) == {"a/m": array.tobytes()}
    monkeypatch.setattr(form, "MAX_CHUNK_BYTES", array.nbytes)
    assert form.CHUNKED.encode() not in pour(tmp_path / "just", {"a/m": array}).read_bytes()


CHUNK = packed(np.zeros(3, np.float32))
MARK = {"__msgpack_chunked_array__": True}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1], "unexpected type byte 0x91 at byte"),
        (1, "the file does not begin with a map"),
        ({"a": 1}, "'a' is a number, not an array"),
        ({"a": None}, "unexpected type byte 0xc0"),
        ({"a": "text"}, "unexpected type byte 0xa4"),
        ({"a": -1}, "unexpected type byte 0xff"),
        ({1: CHUNK}, "expected a name, found type byte 0x01"),
        ({"a/b": CHUNK}, "parameter name 'a/b' is empty or contains '/'"),
        ({"": CHUNK}, "parameter name '' is empty or contains '/'"),
        ({"a" * 513: CHUNK}, "a name of 513 bytes"),
        ({"a": msgpack.ExtType(2, b"\x93\x90")}, "extension type 2 is not an array"),
        ({"a": msgpack.ExtType(1, b"\x93\xc0" + bytes(9))}, "an array without a shape"),
        (
            {"a": msgpack.ExtType(1, msgpack.packb(((3,), "complex64", bytes(24))))},
            "dtype 'complex64' is not one",
        ),
        (
            {"a": msgpack.ExtType(1, msgpack.packb(((3,), "float32", "twelve bytes")))},
            "an array without data",
        ),
        (
            {"a": msgpack.ExtType(1, msgpack.packb(((3,), "float32", bytes(16))))},
            "float32 [3] does not take 16 bytes",
        ),
        (
            {"a": msgpack.ExtType(1, msgpack.packb((({},), "float32", bytes(4))))},
            "a shape that is not a list of integers",
        ),
        (
            {"a": {**MARK, "shape": {"0": 4}, "chunks": {"0": CHUNK}}},
            "'a': the chunks do not add up",
        ),
        (
            {"a": {**MARK, "shape": {"0": 3}, "chunks": {"1": CHUNK}}},
            "'a': the chunks do not add up",
        ),
        ({"a": {**MARK, "shape": {"0": 3}, "chunks": {}}}, "'a': the chunks do not add up"),
        ({"a": {**MARK, "shape": {"0": 0}, "chunks": {}}}, "'a': the chunks do not add up"),
        (
            {"a": {**MARK, "shape": {"0": CHUNK}, "chunks": {"0": CHUNK}}},
            "'a': the chunks do not add up",
        ),
        (
            {
                "a": {
                    **MARK,
                    "shape": {"0": 4},
                    "chunks": {"0": CHUNK, "1": packed(np.zeros(2, np.float16))},
                }
            },
            "add up",
        ),
    ],
)
def test_what_flax_does_not_write(tmp_path: Path, value: object, reason: str) -> None:
    """Lists, text, numbers, foreign extensions and chunks that do not fit have their refusal."""
    path = tmp_path / "w"
    path.write_bytes(msgpack.packb(value))
    with pytest.raises(SourceError) as refusal:
        form.read(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x82\xa1a\x80\xa1a\x80", "duplicate name 'a'"),
        (b"\x80\x00", "bytes after the end"),
        (b"\x81\xa1\xff\x80", "a name that is not UTF-8"),
        (b"\x81\xa1a" * 40 + b"\x80", "maps deeper than 32 levels"),
        (b"\xdf\xff\xff\xff\xff", "cut short"),
        (
            b"\x81\xa1a\xc9\xff\xff\xff\xff\x01\x93\x91\xce\x3f\xff\xff\xf1\xa7float32\xc6\xff\xff\xff\xe6",
            "not",
        ),
    ],
)
def test_bytes_that_no_library_writes(tmp_path: Path, data: bytes, reason: str) -> None:
    """Names that stand twice, endless maps, data that the file does not have."""
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(SourceError, match=reason):
        form.read(tmp_path / "w")


def test_the_number_of_values_is_limited(tmp_path: Path) -> None:
    """A file of a million empty maps cannot fill the memory."""
    (tmp_path / "w").write_bytes(msgpack.packb({str(n): {} for n in range(100)}))
    with (
        limited(tensors=50),
        pytest.raises(SourceError, match=r"more than 75 values .*--limit tensors=N"),
    ):
        form.read(tmp_path / "w")


def test_the_structure_is_limited(tmp_path: Path) -> None:
    """What is not data counts in bytes; data does not count."""
    path = pour(tmp_path / "w", {f"a/{n}": np.zeros(1000, np.float32) for n in range(9)})
    with limited(header_bytes=400):
        assert len(form.read(path).tensors) == 9
    with (
        limited(header_bytes=200),
        pytest.raises(SourceError, match="more than 200 bytes of structure"),
    ):
        form.read(path)


def test_shapes_in_shapes_are_not_followed(tmp_path: Path) -> None:
    """An array whose shape is an array whose shape ...: refused at the first, not with a full stack."""
    nested = b"\xc7\xff\x01\x93\x91"
    (tmp_path / "w").write_bytes(b"\x81\xa1a" + nested * 5000)
    with pytest.raises(SourceError, match="a shape that is not a list of integers at byte 9"):
        form.read(tmp_path / "w")
