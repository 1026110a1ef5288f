"""Geometry of PyTorch tensors: from a view of a storage to a place in the file.

Source: torch/storage.py and the notes on strides in torch.Tensor.stride; all sums in Python's integers,
which do not overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

from ckptconv.base.limits import limits, more
from ckptconv.stores.parsers.stream import FETCH, refusal, shown
from ckptconv.stores.parsers.torch_pickle import Storage, Tensor
from ckptconv.stores.tensor import ITEMSIZE, ChecksumSpan, Extent, Stored, TensorSpec


def check_storages(path: Path, storages: Mapping[str, Storage], sizes: Mapping[str, int]) -> None:
    """Raise SourceError where storages and records in the file are not one to one and of one size [bytes]."""
    for key in [*sorted(storages.keys() - sizes.keys()), *sorted(sizes.keys() - storages.keys())][
        :1
    ]:
        which = (
            "has no data in the file" if key in storages else "is in the file but no tensor uses it"
        )
        raise refusal(path, f"storage {shown(key)} {which}", advice=FETCH)
    for key, storage in storages.items():
        if sizes[key] != storage.nbytes:
            what = f"storage {key} of {storage.numel} {storage.dtype} takes {storage.nbytes} bytes"
            raise refusal(path, f"{what}, the file has {sizes[key]}", advice=FETCH)


def places(
    path: Path,
    size: int,
    tensors: Mapping[str, Tensor],
    starts: Mapping[str, int],
    spans: Mapping[str, ChecksumSpan] | None = None,
) -> dict[str, Stored]:
    """Return where each tensor lies, in a file of `size` bytes.

    Args: starts: storage key -> where its data begins [bytes from the file's start]. spans: storage key ->
    what the file's own checksum covers, where there is one.
    Raises: SourceError: a view that leaves its storage or repeats elements, or far more data than the file.
    """
    stored = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        stored[name] = replace(
            _stored(path, name, tensor, starts[key]), checksum=(spans or {}).get(key)
        )
    total = sum(stored.spec.nbytes for stored in stored.values())
    # Tied weights at most double it; without a limit a small file could name one storage thousands of times.
    if total > limits().expansion * size:
        what = f"its tensors take {total} bytes together, the file has {size}"
        raise refusal(path, what, advice=more("expansion"))
    return stored


def _stored(path: Path, name: str, tensor: Tensor, start: int) -> Stored:
    """Return where one tensor lies, from its first element to its last. Raises SourceError."""
    spec = TensorSpec(name, tensor.storage.dtype, tensor.shape)
    steps = zip(tensor.shape, tensor.stride, strict=True)
    span = 1 + sum((size - 1) * stride for size, stride in steps) if spec.numel else 0
    if tensor.offset + span > tensor.storage.numel:
        what = f"elements {tensor.offset} to {tensor.offset + span} of a storage of {tensor.storage.numel}"
        raise refusal(path, f"tensor {shown(name)} is {what}", advice=FETCH)
    if spec.numel > span:
        raise refusal(
            path,
            f"tensor {shown(name)} is expanded: {spec.numel} elements of which {span} are stored",
        )
    itemsize = ITEMSIZE[spec.dtype]
    extent = Extent(start + tensor.offset * itemsize, span * itemsize)
    return Stored.in_file(spec, path, (extent,), None if _is_row_major(tensor) else _steps(tensor))


def _is_row_major(tensor: Tensor) -> bool:
    """Say whether the elements follow each other; no step is ever taken along an axis of size 1."""
    expected = prod(tensor.shape)
    if expected == 0:
        return True
    for size, stride in zip(tensor.shape, tensor.stride, strict=True):
        expected //= size
        if size != 1 and stride != expected:
            return False
    return True


def _steps(tensor: Tensor) -> tuple[int, ...]:
    """Return the strides, with those that mean nothing as 1: they may be any number in the file."""
    return tuple(
        1 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.stride, strict=True)
    )
