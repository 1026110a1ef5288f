"""PyTorch's form before 1.6: the same values as torch itself gives, and nothing ambiguous gets through."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from ckptconv.base.errors import SourceError
from ckptconv.stores.formats import torch_zip
from ckptconv.stores.formats.torch_legacy import FORMAT, read
from ckptconv.stores.layouts.huggingface import weights_name
from ckptconv.stores.tensor import Stored

ITEM = {"bfloat16": "<u2", "bool": "|u1"}
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
VERSION = b"\x80\x02M\xe9\x03."


def values(stored: Stored) -> bytes:
    """Return the elements of a tensor, row-major, by way of its extent and strides alone."""
    (extent,) = stored.extents
    raw = stored.path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
    flat = np.frombuffer(raw, ITEM.get(stored.spec.dtype, stored.spec.dtype))
    if stored.strides is None:
        return flat.tobytes()
    steps = tuple(stride * flat.itemsize for stride in stored.strides)
    return np.lib.stride_tricks.as_strided(flat, stored.spec.shape, steps).tobytes()


@pytest.mark.frameworks
def test_as_torch(tmp_path: Path) -> None:
    """Views, tied weights, scalars, empty tensors and every dtype have the values that torch has."""
    import torch

    path = tmp_path / "model.bin"
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    saved = {
        "plain": torch.arange(6.0).reshape(2, 3),
        "transposed": base.T,
        "sliced": base[1:4, 2:7:2],
        "tied": base,
        "column": base[:, :1],
        "bf16": base.bfloat16(),
        "f16": base.half(),
        "f64": base.double(),
        "i64": base.long(),
        "i32": base.int(),
        "i16": base.short(),
        "i8": base.to(torch.int8),
        "u8": torch.arange(5).to(torch.uint8),
        "bool": base > 0,
        "parameter": torch.nn.Parameter(base[2:]),
        "scalar": torch.tensor(3.5),
        "in storage": base[2, 3],
        "empty": torch.empty(0, 4),
        "empty slice": base[3:3],
    }
    torch.save(saved, path, _use_new_zipfile_serialization=False)

    actual = read(path).tensors

    assert list(saved) == list(actual)
    for name, tensor in torch.load(path, weights_only=True).items():
        expected = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        assert str(tensor.dtype) == f"torch.{actual[name].spec.dtype}", name
        assert tuple(tensor.shape) == actual[name].spec.shape, name
        assert expected == values(actual[name]), name
    assert actual["tied"].extents == actual["transposed"].extents
    assert actual["plain"].strides is actual["empty"].strides is None
    assert actual["column"].strides == (8, 1)


@pytest.mark.frameworks
def test_module(tmp_path: Path) -> None:
    """A state_dict of an nn.Module, with its `_metadata`, is read."""
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    torch.save(model.state_dict(), tmp_path / "model.bin", _use_new_zipfile_serialization=False)

    assert list(model.state_dict()) == list(read(tmp_path / "model.bin").tensors)


@pytest.mark.frameworks
def test_each_form_refuses_the_other(tmp_path: Path) -> None:
    """The two forms share a file name, and each names the other when it meets it."""
    import torch

    for zipped, reader in ((True, read), (False, torch_zip.read)):
        torch.save(
            {"a": torch.ones(1)}, tmp_path / "model.bin", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(SourceError, match=r"expected the .*form.*, found the .*form"):
            reader(tmp_path / "model.bin")


def text(value: str) -> bytes:
    """Return the opcode that pushes a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def system(version: bytes = b"M\xe9\x03", little: bytes = b"\x88") -> bytes:
    """Return the third pickle."""
    items = (
        text("protocol_version")
        + version
        + text("little_endian")
        + little
        + text("type_sizes")
        + b"}"
    )
    return b"\x80\x02}(" + items + b"u."


def state(view: bytes = b"N", key: str = "77") -> bytes:
    """Return the fourth pickle: a state_dict with one int16 tensor `a` of four elements."""
    storage = (
        b"("
        + text("storage")
        + b"ctorch\nShortStorage\n"
        + text(key)
        + text("cpu")
        + b"K\x04"
        + view
        + b"tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x04\x85K\x01\x85\x89}tR"
    return b"\x80\x02}" + text("a") + tensor + b"s."


def keys(*names: str) -> bytes:
    """Return the fifth pickle."""
    return b"\x80\x02](" + b"".join(map(text, names)) + b"e."


HEAD = MAGIC + VERSION + system()
DATA = struct.pack("<q4h", 4, 1, 2, 3, 4)
RAW = HEAD + state() + keys("77") + DATA


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the path at which a test puts its file."""
    return tmp_path / "pytorch_model.bin"


def test_by_hand(model: Path) -> None:
    """A file written by hand, opcode by opcode, gives its values."""
    model.write_bytes(RAW)

    assert DATA[8:] == values(read(model).tensors["a"])


TAR = b"sys_info".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "found an empty file"),
        (b"\x80", "refused pickle"),
        (TAR, "a tar file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\3\4rest", "found a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "found an HDF5 file"),
        (b"\x80\x04\x95" + RAW, "protocol 2 or 3"),
        (b"\x80\x02}.", "or the form before PyTorch 1.6, found a pickle"),
        (b"\x80\x02K\x07." + RAW, "or the form before PyTorch 1.6, found a pickle"),
        (
            MAGIC + b"\x80\x02M\xea\x03." + system() + state() + keys("77") + DATA,
            "version is not 1001",
        ),
        (MAGIC + VERSION + b"\x80\x02].", "does not say version 1001"),
        (MAGIC + VERSION + system(version=b"K\x01"), "does not say version 1001"),
        (MAGIC + VERSION + system(little=b"\x89"), "not little-endian"),
        (MAGIC + VERSION + system(little=b"K\x01"), "not little-endian"),
        (HEAD + b"\x80\x02NQ.", "not that of a storage"),
        (HEAD + b"\x80\x02].", "holds a list"),
        (HEAD + b"\x80\x02cos\nsystem\n" + text("id") + b"\x85R.", "'os system' has no place"),
        (MAGIC + VERSION + b"\x80\x02ctorch\nFloatStorage\n.", "has no place"),
        (
            HEAD + state(view=text("78") + b"K\x00K\x04\x87") + keys("77") + DATA,
            "not that of a storage",
        ),
        (HEAD + state() + keys("77", "77") + DATA + DATA, "distinct storage keys"),
        (HEAD + state() + b"\x80\x02]K\x01a." + DATA, "distinct storage keys"),
        (HEAD + state() + b"\x80\x02})\x86.", "distinct storage keys"),
        (HEAD + state() + b"\x80\x02])a." + DATA, "distinct storage keys"),
        (HEAD + state() + keys() + DATA, "'77' has no data"),
        (
            HEAD + state() + keys("77", "78") + DATA + DATA,
            "'78' is in the file but no tensor uses it",
        ),
        (HEAD + state() + keys("78") + DATA, "'77' has no data"),
        (RAW[:-16] + struct.pack("<q", 5) + RAW[-8:] + b"\0\0", "has 5 elements, expected 4"),
        (RAW[:-16] + struct.pack("<q", -4) + RAW[-8:], "has -4 elements"),
        (RAW[:-16] + struct.pack(">q", 4) + RAW[-8:], "elements, expected 4"),
        (RAW + b"\0", "the file has"),
        (RAW[:-1], "the file has"),
        (RAW[:-9], "cut short"),
        (RAW.replace(b"ShortStorage", b"QInt8Storage"), "'torch QInt8Storage' has no place"),
    ],
)
def test_refused(model: Path, raw: bytes, said: str) -> None:
    """Each breach of the five pickles or of the storages is refused, and says what it found."""
    model.write_bytes(raw)

    with pytest.raises(SourceError) as refused:
        read(model)

    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{model}: ")
    assert str(refused.value).isascii()


def test_every_cut(model: Path) -> None:
    """A file cut at any byte is refused."""
    model.write_bytes(RAW)
    for length in range(len(RAW) - 1, -1, -1):
        os.truncate(model, length)
        with pytest.raises(SourceError):
            read(model)


def test_cuts_of_a_large_file(model: Path) -> None:
    """A file of 265 kB cut at 512 places is refused each time."""
    numel = 132_000
    saved = state().replace(b"K\x04N", b"J" + struct.pack("<i", numel) + b"N")
    saved = saved.replace(b"K\x00K\x04\x85", b"K\x00J" + struct.pack("<i", numel) + b"\x85")
    raw = (
        HEAD
        + saved.replace(text("cpu") + b"K\x04", text("cpu") + b"J" + struct.pack("<i", numel))
        + keys("77")
    )
    raw += struct.pack("<q", numel) + b"\1\0" * numel
    model.write_bytes(raw)
    assert read(model).tensors["a"].spec.shape == (numel,)
    for cut in range(1, 513):
        os.truncate(model, len(raw) * (513 - cut) // 513)
        with pytest.raises(SourceError):
            read(model)


@pytest.mark.thorough
def test_mutations(model: Path) -> None:
    """5,000 random changes end in a SourceError or in a place within the file."""
    chance = random.Random(16)
    model.write_bytes(RAW)
    with model.open("r+b", buffering=0) as file:
        for _ in range(5_000):
            mutant = bytearray(RAW)
            for _ in range(chance.choice((1, 1, 2, 4))):
                mutant[chance.randrange(len(RAW))] = chance.choice(
                    (0, 0x28, 0x52, 0x71, 0xFF, chance.randrange(256))
                )
            os.pwrite(file.fileno(), mutant, 0)
            tensors, said = {}, ""
            try:
                tensors = read(model).tensors
            except SourceError as error:
                said = str(error)
            assert said.isascii()
            for stored in tensors.values():
                (extent,) = stored.extents
                assert 0 <= extent.offset <= extent.offset + extent.nbytes <= len(RAW)
                assert stored.spec.nbytes <= extent.nbytes


def test_format() -> None:
    """The form shares the file name of the zip form, and is only read."""
    assert (weights_name(FORMAT), FORMAT.namings, FORMAT.create) == (
        "pytorch_model.bin",
        ("pytorch",),
        None,
    )
    assert torch_zip.FORMAT.name != FORMAT.name
