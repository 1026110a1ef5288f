"""PyTorch's zip form, damaged: files that are cut, or that have other bits, are refused or read as what they were."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.stores.formats.torch_zip import read
from zipping import DATA, PICKLE, container


def test_every_cut(model: Path) -> None:
    """A file cut at any byte is refused."""
    raw = container(flags=8, zip64=True, pad=5)
    model.write_bytes(raw)
    read(model)
    for length in range(len(raw) - 1, -1, -1):
        os.truncate(model, length)
        with pytest.raises(SourceError):
            read(model)


@pytest.mark.thorough
@pytest.mark.parametrize("raw", [container(pad=3), container(flags=8, zip64=True)])
def test_every_bit_of_the_structure(model: Path, raw: bytes) -> None:
    """A flipped bit anywhere but in pickle and data is refused, or lies where no reader looks."""
    model.write_bytes(raw)
    expected = read(model)
    payload = {
        place
        for data in (PICKLE[1], DATA[1])
        for place in range(raw.index(data), raw.index(data) + len(data))
    }
    accepted = 0
    with model.open("r+b", buffering=0) as file:
        for place in set(range(len(raw))) - payload:
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([raw[place] ^ 1 << bit]), place)
                try:
                    assert expected == read(model), (place, bit)
                    accepted += 1
                except SourceError:
                    pass
            os.pwrite(file.fileno(), raw[place : place + 1], place)

    assert (
        len(raw) * 8 / 2 > accepted
    )  # versions, times, attributes, padding, contents of `version`


@pytest.mark.frameworks
def test_mutations(model: Path) -> None:
    """20,000 random changes of a real file end in a SourceError or in tensors that lie within the file."""
    import torch

    torch.save(
        {"a": torch.ones(3, 2).T, "b": torch.nn.Parameter(torch.ones(2)), "c": torch.tensor(True)},
        model,
    )
    raw = model.read_bytes()
    start, end = raw.index(b"\x80\x02"), raw.index(b".PK\7\10")
    chance = random.Random(20)
    with model.open("r+b", buffering=0) as file:
        for _ in range(20_000):
            within = (start, end) if chance.random() < 0.7 else (0, len(raw))
            mutant = bytearray(raw)
            for _ in range(chance.choice((1, 1, 2, 4))):
                mutant[chance.randrange(*within)] = chance.choice(
                    (0, 1, 0x28, 0x52, 0x62, 0x71, 0x7F, 0xFF, chance.randrange(256))
                )
            os.pwrite(file.fileno(), mutant, 0)
            assert_sound(model, len(raw))


@pytest.mark.frameworks
def test_truncations(model: Path) -> None:
    """A real file cut at 200 places is refused each time."""
    import torch

    torch.save({"a": torch.ones(300, 20), "b": torch.ones(7)}, model)
    size = model.stat().st_size
    for cut in range(200):
        os.truncate(model, size - 1 - cut * (size // 200))
        with pytest.raises(SourceError):
            read(model)


def assert_sound(path: Path, size: int) -> None:
    """Fail where a file is neither refused with a SourceError nor read as places within it."""
    tensors, said = {}, ""
    try:
        tensors = read(path).tensors
    except SourceError as error:
        said = str(error)
    assert said.isascii()
    for name, stored in tensors.items():
        (extent,) = stored.extents
        assert name.isprintable()
        assert 0 <= extent.offset <= extent.offset + extent.nbytes <= size
        assert stored.spec.nbytes <= extent.nbytes
