"""PyTorch's zip form: the same values as torch itself gives, and views that lie within their storage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptconv.base.errors import SourceError
from ckptconv.stores.formats.torch_zip import FORMAT, read
from ckptconv.stores.layouts.huggingface import weights_name
from ckptconv.stores.parsers.torch_pickle import Storage, Tensor, places
from ckptconv.stores.tensor import ITEMSIZE, Stored
from zipping import DATA, MEMBERS, PICKLE, VERSION, container

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
        "plain": torch.arange(6.0).reshape(2, 3),
        "transposed": base.T,
        "sliced": base[1:4, 2:7:2],
        "column": base[:, :1],
        "row": base[5],
        "permuted": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        "tied": base,
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
        "scalar in storage": base[2, 3],
        "empty": torch.empty(0, 4),
        "empty slice": base[3:3],
        "naïve": torch.tensor([float("nan"), -0.0]),
    }
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

    model = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Embedding(5, 4)
    )
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


@pytest.mark.parametrize(
    "raw",
    [
        container(),
        container(flags=8),
        container(flags=0x808, pad=40),
        container(zip64=True),
        container((PICKLE, DATA, VERSION)),
        container(
            tuple((name.replace("m/", "modèle/"), data) for name, data in MEMBERS), flags=0x800
        ),
        container((*MEMBERS, ("m/.data/serialization_id", b"1" * 40), ("m/.format_version", b"1"))),
    ],
)
def test_container(model: Path, raw: bytes) -> None:
    """Descriptors, padding, zip64 records, and the members of every release are read."""
    model.write_bytes(raw)

    stored = read(model).tensors["a"]

    assert DATA[1] == values(stored)
    assert (stored.spec.dtype, stored.spec.shape, stored.strides) == ("float32", (2, 3), None)


@given(
    st.integers(0, 64),
    st.integers(0, 64),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=4),
    st.sampled_from(sorted(ITEMSIZE)),
)
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
    assert (1000 + offset * item, (last - offset + 1) * item) == (
        stored.extents[0].offset,
        stored.extents[0].nbytes,
    )
    assert (stored.strides is None) == (touched == list(range(offset, offset + len(touched))))
    return True


def test_format() -> None:
    """The file has the name under which transformers saves PyTorch weights, and is only read."""
    assert (weights_name(FORMAT), FORMAT.namings, FORMAT.create) == (
        "pytorch_model.bin",
        ("pytorch",),
        None,
    )
