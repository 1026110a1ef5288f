"""Checksums that a file carries for its own data: every flipped bit is found, and named."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader
from ckptconv.stores.formats import torch_zip
from ckptconv.stores.tensor import (
    ChecksumSpan,
    Extent,
    Stored,
    TensorSpec,
    check_span,
    checksum,
    checksum_spans,
)
from ckptconv.trials.corpus._pickled import state_dict, storage, tensor, view
from ckptconv.trials.corpus._zipped import Part, parts, zipped

if TYPE_CHECKING:
    from conftest import Counted


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a whole model in the zip form."""
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(zipped(parts()))
    return path


def read(path: Path) -> None:
    """Read a file and all that its checksums cover."""
    for record in checksum_spans(torch_zip.read(path).tensors.values()):
        check_span(record)


@pytest.mark.thorough
def test_every_member(model: Path, counted: Counted) -> None:
    """Any bit flipped in the pickle, in a small member or in a tensor is refused, with the member's name."""
    read(model)
    raw = model.read_bytes()
    places = {at: part.name[2:] for part in parts() for at in _span(raw, part)}
    chance = random.Random(5)
    flips = [(at, chance.randrange(8)) for at in chance.sample(sorted(places), 2_000)]
    with model.open("r+b", buffering=0) as file:
        for at, bit in flips:
            os.pwrite(file.fileno(), bytes([raw[at] ^ 1 << bit]), at)
            with pytest.raises(SourceError, match="has the CRC-32") as refused:
                read(model)
            assert f"zip member '{places[at]}' has the CRC-32" in str(refused.value)
            os.pwrite(file.fileno(), raw[at : at + 1], at)
    read(model)
    counted(f"{len(flips):,} of {len(flips):,} flipped bits of a .bin refused by its checksums")


def _span(raw: bytes, part: Part) -> range:
    start = raw.index(part.name.encode() + part.data) + len(part.name)
    return range(start, start + len(part.data))


def test_not_computed(tmp_path: Path) -> None:
    """A checksum of 0 means that the writer computed none: nothing is compared, nothing is said."""
    path = tmp_path / "pytorch_model.bin"
    silent = {"crc": 0}
    path.write_bytes(zipped([replace(part, local=silent, central=silent) for part in parts()]))

    tensors = torch_zip.read(path).tensors.values()

    assert len(tensors) > 50
    assert {stored.checksum for stored in tensors} == {None}


def test_checksum_of_nothing(tmp_path: Path) -> None:
    """An empty tensor has the checksum of no bytes; any other one is refused."""
    path = tmp_path / "pytorch_model.bin"
    pickle = state_dict({"a": tensor(storage("0", 0), view((0, 4)))})
    empty = Part("m/data/0", b"", local={"crc": 7}, central={"crc": 7})
    path.write_bytes(zipped([Part("m/data.pkl", pickle), empty, Part("m/version", b"3")]))

    with pytest.raises(
        SourceError, match="'data/0' has the CRC-32 00000000, the zip directory says 00000007"
    ):
        read(path)


def test_records() -> None:
    """Records stand once, however many tensors they hold, in the order of the files."""
    one, two, three = (
        ChecksumSpan(Path(path), "data/0", Extent(at, 4), 1)
        for path, at in (("a", 0), ("a", 9), ("b", 0))
    )
    spec = TensorSpec("x", "float32", (1,))
    tensors = [
        Stored.in_file(spec, Path("a"), (Extent(0, 4),), checksum=record)
        for record in (three, None, two, one, two)
    ]

    assert checksum_spans(tensors) == (one, two, three)


@pytest.mark.parametrize("nbytes", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_checksum(tmp_path: Path, nbytes: int) -> None:
    """Whatever the length, all bytes and no others are summed: as zlib does it in one piece."""
    from zlib import crc32

    data = random.Random(nbytes).randbytes(nbytes)
    (tmp_path / "data").write_bytes(b"before" + data + b"behind")
    with FileReader(tmp_path / "data") as file:
        assert checksum(file, 6, nbytes) == crc32(data)
        with pytest.raises(SourceError, match="cut short"):
            checksum(file, 6, nbytes + 7)
