"""PyTorch's zip form: the same values as torch itself gives, and nothing ambiguous gets through."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptconv.errors import SourceError
from ckptconv.formats._torch import Storage, Tensor
from ckptconv.formats._views import places
from ckptconv.formats.torch_zip import FORMAT, read
from ckptconv.guards.limits import limited
from ckptconv.tensor import ITEMSIZE, Stored

if TYPE_CHECKING:
    import torch

ITEM = {"bfloat16": "<u2", "bool": "|u1"}


def values(stored: Stored) -> bytes:
    """Return the elements of a tensor, row-major, by way of its extent and strides alone."""
    (extent,) = stored.extents
    raw = stored.path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
    flat = np.frombuffer(raw, ITEM.get(stored.spec.dtype, stored.spec.dtype))
    assert extent.nbytes == len(raw)
    if stored.strides is None:
        assert stored.spec.nbytes == extent.nbytes
        return flat.tobytes()
    steps = tuple(stride * flat.itemsize for stride in stored.strides)
    return np.lib.stride_tricks.as_strided(flat, stored.spec.shape, steps).tobytes()


def torch_values(tensor: torch.Tensor) -> bytes:
    """Return the elements of a tensor, row-major, by way of torch."""
    import torch

    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_as_torch(expected: Mapping[str, torch.Tensor], path: Path) -> None:
    """Fail unless names, dtypes, shapes and values are those of torch."""
    actual = read(path).tensors
    assert list(expected) == list(actual)
    for name, tensor in expected.items():
        assert str(tensor.dtype) == f"torch.{actual[name].spec.dtype}", name
        assert tuple(tensor.shape) == actual[name].spec.shape, name
        assert torch_values(tensor) == values(actual[name]), name


@pytest.mark.frameworks
@pytest.mark.parametrize("crc", [True, False])
def test_as_torch(tmp_path: Path, crc: bool) -> None:
    """Plain, transposed, sliced, tied, scalar, empty and typed tensors have the values that torch has."""
    import torch

    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    saved = {
        "plain": torch.arange(6.0).reshape(2, 3), "transposed": base.T, "sliced": base[1:4, 2:7:2],
        "column": base[:, :1], "row": base[5], "permuted": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        "tied": base, "bf16": base.bfloat16(), "f16": base.half(), "f64": base.double(), "i64": base.long(),
        "i32": base.int(), "i16": base.short(), "i8": base.to(torch.int8), "u8": torch.arange(5).to(torch.uint8),
        "bool": base > 0, "parameter": torch.nn.Parameter(base[2:]),
        "scalar": torch.tensor(3.5), "scalar in storage": base[2, 3], "empty": torch.empty(0, 4),
        "empty slice": base[3:3],
        "naïve": torch.tensor([float("nan"), -0.0]),
    }  # fmt: skip
    torch.serialization.set_crc32_options(crc)
    try:
        torch.save(saved, tmp_path / "model.bin")
    finally:
        torch.serialization.set_crc32_options(True)

    assert_as_torch(torch.load(tmp_path / "model.bin", weights_only=True), tmp_path / "model.bin")
    tensors = read(tmp_path / "model.bin").tensors
    assert tensors["transposed"].strides == (1, 8)
    assert tensors["column"].strides == (8, 1)
    assert tensors["row"].strides is tensors["parameter"].strides is None
    assert tensors["tied"].extents == tensors["transposed"].extents
    assert tensors["empty"].extents[0].nbytes == 0


@pytest.mark.frameworks
@pytest.mark.parametrize("protocol", [2, 3])
def test_module(tmp_path: Path, protocol: int) -> None:
    """A state_dict of an nn.Module, with its `_metadata` and tied weights, is read; aliases share bytes."""
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Embedding(5, 4))
    model.append(torch.nn.Linear(4, 5))
    model[3].weight = model[2].weight
    torch.save(model.state_dict(), tmp_path / "model.bin", pickle_protocol=protocol)

    assert_as_torch(model.state_dict(), tmp_path / "model.bin")
    tensors = read(tmp_path / "model.bin").tensors
    assert tensors["2.weight"].extents == tensors["3.weight"].extents


@pytest.mark.frameworks
def test_many_members(tmp_path: Path) -> None:
    """A pickle larger than one block is read as a small one is, from memory too (root `archive`)."""
    import torch

    saved = {f"layers.{number}.weight": torch.tensor([number]) for number in range(700)}
    with (tmp_path / "model.bin").open("wb") as file:
        torch.save(saved, file)

    assert_as_torch(saved, tmp_path / "model.bin")


@pytest.mark.frameworks
def test_refused_objects(tmp_path: Path) -> None:
    """What is no flat state_dict is refused by name, with a hint where the state_dict is further in."""
    import torch

    path = tmp_path / "model.bin"
    sparse = torch.eye(2).to_sparse()
    cases = {
        "'epoch' is a int": {"epoch": 3}, "'model'": {"model": {"a": torch.ones(1)}}, "a list": [torch.ones(1)],
        "a Tensor": torch.ones(1), "no string but a int": {0: torch.ones(1)},
        "'x' is expanded": {"x": torch.ones(1).expand(9)},
        "ComplexFloat": {"c": torch.ones(1, dtype=torch.complex64)}, "_rebuild_sparse_tensor": {"s": sparse},
        "_rebuild_tensor_v3": {"q": torch.ones(1).to(torch.float8_e5m2)},
        "torch.nn.modules.linear": torch.nn.Linear(1, 1),
        "not printable": {"a\x1b[31m": torch.ones(1)}, "is empty": {"": torch.ones(1)},
        "metadata": {"n": torch._neg_view(torch.ones(2))}, "meta": {"m": torch.ones(1, device="meta")},
        "_rebuild_from_type_v2": {"b": torch.nn.Buffer(torch.ones(1))},
        "UntypedStorage": {"s": torch.ones(1).untyped_storage()},
    }  # fmt: skip
    for said, value in cases.items():
        torch.save(value, path)
        with pytest.raises(SourceError) as refused:
            read(path)
        assert said in str(refused.value)
        assert "torch.save" in str(refused.value)
    torch.save({"a": torch.ones(1)}, path, pickle_protocol=4)
    with pytest.raises(SourceError, match="protocol 2 or 3"):
        read(path)


@pytest.mark.frameworks
def test_torchscript(tmp_path: Path) -> None:
    """A TorchScript archive is refused as what it is."""
    import torch

    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "model.bin")

    with pytest.raises(SourceError, match="TorchScript"):
        read(tmp_path / "model.bin")


def text(value: str) -> bytes:
    """Return the opcode that pushes a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def pickled(numel: int = 6, *, offset: int = 0, shape: str = "(K\x02K\x03t", stride: str = "(K\x03K\x01t") -> bytes:
    """Return the pickle of a state_dict with one float32 tensor `a`."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + bytes([75, numel]) + b"tQ"
    view = bytes([75, offset]) + shape.encode("latin-1") + stride.encode("latin-1")
    return b"\x80\x02}" + text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"\x89}tRs."


PICKLE, DATA = ("m/data.pkl", pickled()), ("m/data/0", struct.pack("<6f", *range(6)))
VERSION = ("m/version", b"3\n")
MEMBERS = (PICKLE, ("m/byteorder", b"little"), DATA, VERSION)


def container(
    members: tuple[tuple[str, bytes], ...] = MEMBERS,
    *,
    flags: int = 0,
    method: int = 0,
    pad: int = 0,
    zip64: bool = False,
) -> bytes:
    """Return a zip container of stored members; flag 8 puts a descriptor behind each."""
    body, directory = b"", b""
    for name, data in members:
        header, crc, size = len(body), zlib.crc32(data), len(data)
        known = (0, 0, 0) if flags & 8 else (crc, size, size)
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 0, flags, method, 0, 0, *known, len(name.encode()), pad)
        body += name.encode() + b"Z" * pad + data
        body += struct.pack("<4s3L", b"PK\7\10", crc, size, size) if flags & 8 else b""
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 0, 0, flags, method, 0, 0, crc, size, size,
                                 len(name.encode()), 0, 0, 0, 0, 0, header) + name.encode()  # fmt: skip
    count, size, at = len(members), len(directory), len(body)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, at, 0)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 0, 0, 0, 0, count, count, size, at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at + size, 1)
    return body + directory + (end64 + locator if zip64 else b"") + end


def replaced(raw: bytes, *places: int, value: bytes) -> bytes:
    """Return `raw` with `value` at each of `places`."""
    for place in places:
        raw = raw[:place] + value + raw[place + len(value) :]
    return raw


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the path at which a test puts its file."""
    return tmp_path / "pytorch_model.bin"


@pytest.mark.parametrize(
    "raw",
    [
        container(), container(flags=8), container(flags=0x808, pad=40), container(zip64=True),
        container((PICKLE, DATA, VERSION)),
        container(tuple((name.replace("m/", "modèle/"), data) for name, data in MEMBERS), flags=0x800),
        container((*MEMBERS, ("m/.data/serialization_id", b"1" * 40), ("m/.format_version", b"1"))),
    ],
)  # fmt: skip
def test_container(model: Path, raw: bytes) -> None:
    """Descriptors, padding, zip64 records, and the members of every release are read."""
    model.write_bytes(raw)

    stored = read(model).tensors["a"]

    assert DATA[1] == values(stored)
    assert (stored.spec.dtype, stored.spec.shape, stored.strides) == ("float32", (2, 3), None)


RAW = container()
LOCAL, CENTRAL = RAW.index(b"PK\3\4", 1), RAW.index(b"PK\1\2")
END = len(RAW) - 22
GAP = RAW[:CENTRAL] + b"gap!" + RAW[CENTRAL:]
WIDE = container(zip64=True)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (container(method=8), "compressed (method 8)"),
        (container((*MEMBERS, DATA)), "stands twice"),
        (container((*MEMBERS, ("M/data/1", b""))), "outside the one root"),
        (container((*MEMBERS, ("m/DATA/0", b""))), "'m/DATA/0' is not one"),
        (container((*MEMBERS, ("m/data/x", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/data/", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/../data/1", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("/data/1", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("data.pkl", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/data.pkl\0x", b""))), "is not one that torch.save writes"),
        (container((*MEMBERS, ("m/" + "\x1b" * 600, b""))), "a name of odd length"),
        (container((*MEMBERS, ("m/code/__torch__.py", b""))), "TorchScript"),
        (container((*MEMBERS, ("m/constants.pkl", b""))), "TorchScript"),
        (container((*MEMBERS, ("m/data/1", b"abcd"))), "storage '1' is in the file but no tensor uses it"),
        (container((PICKLE, VERSION)), "storage '0' has no data"),
        (container((PICKLE, DATA)), "no member 'version'"),
        (container((PICKLE, DATA, ("m/version", b"11\n"))), "format version is '11\\n', expected 1 to 10"),
        (container((PICKLE, DATA, ("m/version", b"3" * 99))), "format version is '333"),
        (container((DATA, VERSION)), "no member 'data.pkl'"),
        (container(()), "expected the zip form"),
        (container((PICKLE, DATA, VERSION, ("m/byteorder", b"big"))), "byte order is 'big'"),
        (container((PICKLE, DATA, VERSION, ("m/byteorder", b"little\n"))), "byte order"),
        (container((PICKLE, DATA, VERSION, ("m/byteorder", b"little" * 9))), "byte order"),
        (container((PICKLE, VERSION, ("m/data/0", b"\0" * 23))), "takes 24 bytes, the file has 23"),
        (container((PICKLE, VERSION, ("m/data/0", b"\0" * 28))), "takes 24 bytes, the file has 28"),
        (container((("m/data.pkl", pickled() + b"N."), DATA, VERSION)), "2 bytes behind the pickle"),
        (container((("m/data.pkl", pickled(5)), DATA, VERSION)), "takes 20 bytes, the file has 24"),
        (container((("m/data.pkl", pickled(offset=1)), DATA, VERSION)), "elements 1 to 7 of a storage of 6"),
        (container((("m/data.pkl", pickled(stride="(K\x04K\x01t")), DATA, VERSION)), "elements 0 to 7"),
        (container((("m/data.pkl", pickled(stride="(K\x00K\x01t")), DATA, VERSION)), "expanded: 6 elements of which 3"),
        (container((("m/data.pkl", pickled(stride="(K\x01K\x01t")), DATA, VERSION)), "expanded: 6 elements of which 4"),
        (container((("m/data.pkl", pickled(offset=7, shape="K\0\x85", stride="K\x01\x85")), DATA, VERSION)),
         "elements 7 to 7"),
        (container((("m/data.pkl", pickled(shape="(J\xff\xff\xff\x7fK\x03t")), DATA, VERSION)), "of a storage of 6"),
        (b"PK\3\4" + RAW, "contradict"),
        (b"PK\3\4" + replaced(RAW, END + 16, value=struct.pack("<L", CENTRAL + 4)), "disagree"),
        (replaced(RAW, CENTRAL + 42, value=b"\1"), "should begin where"),
        (RAW + b"\0", "no zip end record"),
        (RAW + RAW, "contradict"),
        (RAW[:-2] + b"\1\0x", "no zip end record"),
        (GAP, "contradict"),
        (replaced(GAP, END + 4 + 16, value=struct.pack("<L", CENTRAL + 4)), "belong to no"),
        (replaced(RAW, END + 4, value=b"\1"), "contradict"),
        (replaced(RAW, END + 8, value=b"\3"), "contradict"),
        (replaced(RAW, END + 8, END + 10, value=b"\3"), "bytes behind the last"),
        (replaced(RAW, END + 8, END + 10, value=b"\5"), "not a zip directory entry"),
        (replaced(RAW, END + 8, END + 10, value=b"\0"), "bytes behind the last"),
        (replaced(RAW, LOCAL, value=b"XX"), "disagree"),
        (replaced(RAW, LOCAL + 6, value=b"\1"), "disagree"),
        (replaced(RAW, LOCAL + 8, value=b"\10"), "disagree"),
        (replaced(RAW, LOCAL + 14, value=b"\1\2\3\4"), "disagree"),
        (replaced(RAW, LOCAL + 18, value=b"\7"), "disagree"),
        (replaced(RAW, LOCAL + 22, value=b"\7"), "disagree"),
        (replaced(RAW, LOCAL + 30, value=b"n"), "disagree"),
        (replaced(RAW, LOCAL + 28, value=b"\1"), "should begin where"),
        (replaced(RAW, CENTRAL + 8, value=b"\1"), "flags 0x1"),
        (replaced(RAW, CENTRAL + 20, value=b"\7"), "long, but stored in 7"),
        (replaced(RAW, CENTRAL + 24, value=b"\7"), "bytes long, but stored"),
        (replaced(RAW, CENTRAL + 30, value=b"\4"), "extra field"),
        (replaced(RAW, CENTRAL + 32, value=b"\1"), "a comment"),
        (replaced(RAW, CENTRAL + 34, value=b"\1"), "a comment"),
        (replaced(RAW, CENTRAL + 42, value=b"\xff" * 4), "extra field"),
        (replaced(RAW, CENTRAL + 38, value=b"\x10"), "marked as a directory"),
        (container((("m/data.pkl", pickled().replace(text("cpu"), text("meta"))), DATA, VERSION)),
         "on the meta device"),
        (replaced(WIDE, len(WIDE) - 22 + 16, value=b"\7"), "contradict"),
        (replaced(WIDE, len(WIDE) - 42 + 8, value=b"\7"), "contradict"),
        (replaced(WIDE, len(WIDE) - 42 + 16, value=b"\2"), "contradict"),
        (replaced(WIDE, len(WIDE) - 98 + 4, value=b"\x2d"), "contradict"),
        (replaced(WIDE, len(WIDE) - 98, value=b"X"), "contradict"),
        (replaced(container(flags=8), container(flags=8).index(b"PK\7\10"), value=b"X"), "no data descriptor"),
        (replaced(container(flags=8), container(flags=8).index(b"PK\7\10") + 4, value=b"abc"), "no data descriptor"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "before PyTorch 1.6"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "expected the zip form"), (b"PK", "expected the zip form"), (b"<html>", "begins with '<html>'"),
    ],
)  # fmt: skip
def test_refused(model: Path, raw: bytes, said: str) -> None:
    """Each breach of the container, the records or the geometry is refused, and says what it found."""
    model.write_bytes(raw)

    with pytest.raises(SourceError) as refused:
        read(model)

    message = str(refused.value)
    assert said in message
    assert message.startswith(f"{model}: ")
    assert message.isascii()
    assert len(message) < 900


def test_no_regular_file(tmp_path: Path) -> None:
    """An absent file, a directory and a FIFO end in a SourceError, and do not hang."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "fifo"):
        with pytest.raises(SourceError):
            read(path)


def test_every_cut(model: Path) -> None:
    """A file cut at any byte is refused."""
    raw = container(flags=8, zip64=True, pad=5)
    model.write_bytes(raw)
    read(model)
    for length in range(len(raw) - 1, -1, -1):
        os.truncate(model, length)
        with pytest.raises(SourceError):
            read(model)


@pytest.mark.parametrize("raw", [container(pad=3), container(flags=8, zip64=True)])
def test_every_bit_of_the_structure(model: Path, raw: bytes) -> None:
    """A flipped bit anywhere but in pickle and data is refused, or lies where no reader looks."""
    model.write_bytes(raw)
    expected = read(model)
    payload = {place for data in (PICKLE[1], DATA[1]) for place in range(raw.index(data), raw.index(data) + len(data))}
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

    assert len(raw) * 8 / 2 > accepted  # versions, times, attributes, padding, contents of `version`


@pytest.mark.frameworks
def test_mutations(model: Path) -> None:
    """20,000 random changes of a real file end in a SourceError or in tensors that lie within the file."""
    import torch

    torch.save({"a": torch.ones(3, 2).T, "b": torch.nn.Parameter(torch.ones(2)), "c": torch.tensor(True)}, model)
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


@given(
    st.integers(0, 64), st.integers(0, 64), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=4),
    st.sampled_from(sorted(ITEMSIZE)),
)  # fmt: skip
def test_geometry(numel: int, offset: int, axes: list[tuple[int, int]], dtype: str) -> None:
    """A view is accepted exactly if every element lies in the storage and it repeats none wholesale."""
    assert_geometry(numel, offset, axes, dtype)


def assert_geometry(numel: int, offset: int, axes: list[tuple[int, int]], dtype: str) -> bool:
    """Fail unless a view is read exactly if all its elements, counted one by one, fit; return whether it is."""
    shape, stride = tuple(size for size, _ in axes), tuple(step for _, step in axes)
    tensor = Tensor(Storage(dtype, "0", numel), offset, shape, stride)
    touched = [offset + sum(np.multiply(index, stride)) for index in np.ndindex(shape)]
    last = max(touched, default=offset - 1)
    fits = last < numel and offset <= numel and len(touched) <= last - offset + 1
    try:
        stored = places(Path("f"), 1 << 20, {"t": tensor}, {"0": 1000})["t"]
    except SourceError:
        assert not fits
        return False

    item = ITEMSIZE[dtype]
    assert fits
    assert (1000 + offset * item, (last - offset + 1) * item) == (stored.extents[0].offset, stored.extents[0].nbytes)
    assert (stored.strides is None) == (touched == list(range(offset, offset + len(touched))))
    return True


def test_names_that_share_a_storage(model: Path) -> None:
    """Thousands of names for one storage, far more data than the file holds, are refused."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"M\x00\x40tQ"
    one = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00M\x00\x40\x85K\x01\x85\x89}tRq\x00"
    names = b"".join(text(str(number)) + b"h\x00s" for number in range(5))
    pickle = b"\x80\x02}" + text("a") + one + b"s" + names + b"."
    model.write_bytes(container((("m/data.pkl", pickle), VERSION, ("m/data/0", b"\0" * 0x10000))))
    with pytest.raises(SourceError, match="tensors take 393216 bytes together"):
        read(model)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tensors": 3}, "a zip directory of 4 members"), ({"header_bytes": 99}, "a zip directory of 4 members"),
        ({"pickle_bytes": 100}, "zip member 'data.pkl' of 114 bytes, more than 100"),
        ({"expansion": 0}, "tensors take 24 bytes together"), ({"pickle_operations": 9}, "more than 9 opcodes"),
    ],
)  # fmt: skip
def test_limits(model: Path, changed: dict[str, int], said: str) -> None:
    """Each limit is asked for when a file is read, and its refusal says how to lift it."""
    model.write_bytes(container())
    read(model)
    with limited(**changed), pytest.raises(SourceError, match=said) as refused:
        read(model)
    assert f"--limit {next(iter(changed))}=N" in str(refused.value)


def test_tensors_limit(model: Path) -> None:
    """Names of one storage are counted too, which no member of the container is."""
    names = b"".join(text(str(number)) + b"h\x00s" for number in range(5))
    pickle = pickled()[:-2] + b"q\x00s" + names + b"."
    model.write_bytes(container((("m/data.pkl", pickle), ("m/data/0", b"\0" * 24), VERSION)))
    assert len(read(model).tensors) == 6
    with limited(tensors=5), pytest.raises(SourceError, match="6 tensors, more than 5"):
        read(model)


def test_format() -> None:
    """The file has the name under which transformers saves PyTorch weights, and is only read."""
    assert (FORMAT.weights, FORMAT.dialects, FORMAT.create) == ("pytorch_model.bin", ("pytorch",), None)
