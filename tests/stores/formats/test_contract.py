"""What every format promises: tensors come back as they were, and a damaged or foreign file is refused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader
from ckptconv.stores.formats import FORMATS, Format
from ckptconv.stores.tensor import ITEMSIZE, TensorSpec
from ckptconv.transfer.casting import RAW

Bytes: TypeAlias = dict[tuple[str, str, tuple[int, ...]], bytes]
READ = sorted(FORMATS)
WRITTEN = [name for name in READ if FORMATS[name].create]
LACKS = {"hdf5": {"bfloat16", "bool"}}
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (5,), (0, 3), (2, 2), (3, 2), (2, 3, 5))


def samples(form: Format) -> Bytes:
    """Return a tensor of every dtype and shape that a format has: (name, dtype, shape) -> bytes."""
    rng = np.random.default_rng(3)
    dtypes = [dtype for dtype in ITEMSIZE if dtype not in LACKS.get(form.name, ())]
    keys = [
        (f"layer{n % 3}/t{n}:0", dtype, shape)
        for n, (dtype, shape) in enumerate(product(dtypes, SHAPES))
    ]
    return {key: rng.bytes(int(np.prod(key[2])) * ITEMSIZE[key[1]]) for key in keys}


def write(form: Format, path: Path, tensors: Mapping[Any, bytes], *, shard: bool = False) -> Path:
    """Write a file with a format's own `create`, and the bytes at its places."""
    assert form.create
    places = form.create(path, [TensorSpec(*key) for key in tensors], form.namings[0], shard)
    with path.open("r+b") as file:
        for (name, _, _), data in tensors.items():
            (extent,) = places[name]
            assert extent.nbytes == len(data)
            file.seek(extent.offset)
            file.write(data)
    return path


def read(form: Format, path: Path) -> Bytes:
    """Read a file with a format's own `read`, and the bytes at its places."""
    tensors = form.read(path).tensors
    with FileReader(path) as file:
        data = {
            name: b"".join(file.read(extent.offset, extent.nbytes) for extent in stored.extents)
            for name, stored in tensors.items()
        }
    return {
        (name, stored.spec.dtype, stored.spec.shape): data[name] for name, stored in tensors.items()
    }


@pytest.fixture(params=WRITTEN)
def form(request: pytest.FixtureRequest) -> Format:
    """Return each format that ckptconv writes."""
    return FORMATS[request.param]


@pytest.mark.parametrize("shard", [False, True])
def test_round_trip(form: Format, tmp_path: Path, shard: bool) -> None:
    """Scalars, empty tensors, vectors, matrices and more, of every dtype, come back bit for bit."""
    tensors = samples(form)
    assert read(form, write(form, tmp_path / "w", tensors, shard=shard)) == tensors


def test_places_do_not_touch(form: Format, tmp_path: Path) -> None:
    """No two tensors share a byte, and none lies outside of the file."""
    tensors = samples(form)
    write(form, tmp_path / "w", tensors)
    extents = sorted(
        (extent.offset, extent.nbytes)
        for stored in form.read(tmp_path / "w").tensors.values()
        for extent in stored.extents
        if extent.nbytes
    )
    ends = [offset + nbytes for offset, nbytes in extents]
    assert all(end <= start for end, (start, _) in zip(ends, extents[1:], strict=False))
    assert ends[-1] <= (tmp_path / "w").stat().st_size


def test_a_matrix_lies_in_rows(form: Format, tmp_path: Path) -> None:
    """A 2 x 2 tensor is sixteen bytes, little-endian, the first row first."""
    data = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    path = write(form, tmp_path / "w", {("a/m:0", "float32", (2, 2)): data})
    assert data.hex() == "0000803f000000400000404000008040"
    assert path.read_bytes().count(data) == 1
    assert read(form, path) == {("a/m:0", "float32", (2, 2)): data}


def test_an_existing_file_is_left_alone(form: Format, tmp_path: Path) -> None:
    """`create` makes a new file or none."""
    (tmp_path / "w").write_text("mine")
    with pytest.raises(FileExistsError):
        write(form, tmp_path / "w", {("a/m:0", "float32", (1,)): bytes(4)})
    assert (tmp_path / "w").read_text() == "mine"


def test_same_bytes_every_time(tmp_path: Path) -> None:
    """No time, no random and no leftover memory gets into a file."""
    files = [(name, tmp_path / f"{name}{n}") for n in (1, 2) for name in WRITTEN]
    for number, (name, path) in enumerate(files):
        if number == len(WRITTEN):
            time.sleep(1.01 - time.time() % 1)  # HDF5 counts in seconds: in the next
        write(FORMATS[name], path, samples(FORMATS[name]))
    first, second = (
        [path.read_bytes() for _, path in files[start:][: len(WRITTEN)]]
        for start in (0, len(WRITTEN))
    )
    assert first == second


@pytest.mark.thorough
def test_cut_files_are_refused(form: Format, tmp_path: Path) -> None:
    """A file without its last bytes is refused, however many are missing."""
    tensors = {("a/m:0", "float32", (2, 3)): bytes(range(24)), ("b/n:0", "int64", (5,)): bytes(40)}
    data = write(form, tmp_path / "w", tensors).read_bytes()
    for length in [*range(0, len(data), max(1, len(data) // 100)), len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(SourceError):
            form.read(tmp_path / "cut")


@pytest.mark.parametrize("name", READ)
def test_foreign_files_are_refused(name: str, tmp_path: Path) -> None:
    """Every other format's file, text, zeros, nothing, a directory and an absent file are refused."""
    tensors = {("a/m:0", "float32", (2, 3)): bytes(range(24))}
    paths = [write(FORMATS[other], tmp_path / other, tensors) for other in WRITTEN if other != name]
    for case, data in {
        "empty": b"",
        "text": b"# a text\n",
        "zeros": bytes(4096),
        "json": b"{}",
    }.items():
        paths.append(tmp_path / case)
        paths[-1].write_bytes(data)
    for path in [*paths, tmp_path, tmp_path / "absent"]:
        with pytest.raises(SourceError, match=str(path)):
            FORMATS[name].read(path)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "hdf5"])
def test_flipped_bytes_never_lead_out(name: str, tmp_path: Path) -> None:
    """One bit changed anywhere: a refusal, or places that lie in the file and fit their shapes."""
    form = FORMATS[name]
    tensors = {("a/m:0", "float32", (2, 3)): bytes(24), ("b/n:0", "bool", (5,)): bytes(5)}
    data = write(form, tmp_path / "w", tensors).read_bytes()
    path, refused = tmp_path / "flipped", 0
    for at, bit in product(range(len(data)), (0, 6)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        try:
            values = form.read(path).tensors.values()
        except SourceError:
            refused += 1
            continue
        ends = [extent.offset + extent.nbytes for stored in values for extent in stored.extents]
        assert max(ends) <= len(data)
        assert all(
            sum(extent.nbytes for extent in stored.extents) == stored.spec.nbytes
            for stored in values
        )
    assert refused > len(data) // 3


def test_raw_types_cover_every_dtype() -> None:
    """Each item size has an unsigned type in which its bytes are moved."""
    assert {ITEMSIZE[dtype] for dtype in ITEMSIZE} == set(RAW)
