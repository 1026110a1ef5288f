"""The same mutants, read by PyTorch: what it refuses we refuse, and what we read has its values."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.stores.formats import Contents
from ckptconv.stores.tensor import Stored
from fuzz.harness import Mutate, mutant

if TYPE_CHECKING:
    import torch

_ITEM = {"bfloat16": "<u2", "bool": "|u1"}


@dataclass(frozen=True, slots=True)
class Compared:
    """How often the two agreed."""

    name: str
    mutants: int
    both_refuse: int
    both_read: int
    stricter: int
    """Refused by us alone."""

    def __str__(self) -> str:
        return (
            f"{self.mutants:,} mutants of {self.name} against torch.load(weights_only=True): both refuse "
            f"{self.both_refuse:,}, both read {self.both_read:,}, only ckptconv refuses {self.stricter:,}"
        )


def compare(
    name: str,
    seeds: Sequence[bytes],
    mutate: Mutate,
    read: Callable[[Path], Contents],
    path: Path,
    mutants: int,
    *,
    zipped: bool = False,
) -> Compared:
    """Read each mutant with both. `zipped`: zipfile must see in what we read the same members, whole.

    Raises: AssertionError: we read what torch refuses, or read other values.
    """
    refuse = agree = stricter = 0
    for number in range(mutants):
        raw = mutant(name, seeds, mutate, number)
        path.write_bytes(raw)
        theirs = _torch(path)
        try:
            ours = read(path)
        except SourceError:
            refuse, stricter = (
                refuse + isinstance(theirs, Exception),
                stricter + (not isinstance(theirs, Exception)),
            )
            continue
        assert isinstance(theirs, Mapping), (
            f"mutant {number} of {name}: torch says {theirs}\n{raw!r}"
        )
        assert _differing(theirs, ours) == [], f"mutant {number} of {name}\n{raw!r}"
        if zipped:
            with zipfile.ZipFile(path) as archive:
                wrong = (
                    archive.testzip()
                )  # PyTorch writes 0 where it computes no checksum; zipfile compares it
                assert wrong is None or archive.getinfo(wrong).CRC == 0, (
                    f"mutant {number} of {name}\n{raw!r}"
                )
        agree += 1
    return Compared(name, mutants, refuse, agree, stricter)


def _torch(path: Path) -> object:
    """Return what torch reads, or the exception with which it refuses."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every kind is a refusal
        return error


def _differing(theirs: Mapping[Any, torch.Tensor], ours: Contents) -> list[str]:
    """Name the tensors that differ in name, dtype, shape or any bit."""
    import torch

    names = [
        str(name)
        for name in {*theirs, *ours.tensors}
        if name not in theirs or name not in ours.tensors
    ]
    for name in theirs.keys() & ours.tensors.keys():
        tensor, stored = theirs[name].detach(), ours.tensors[name]
        same = (
            str(tensor.dtype) == f"torch.{stored.spec.dtype}"
            and tuple(tensor.shape) == stored.spec.shape
        )
        if not same or tensor.contiguous().reshape(-1).view(
            torch.uint8
        ).numpy().tobytes() != _values(stored):
            names.append(name)
    return names


def _values(stored: Stored) -> bytes:
    """Return the elements of a tensor, row-major, by way of its extent and strides alone."""
    (extent,) = stored.extents
    raw = stored.path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
    flat = np.frombuffer(raw, _ITEM.get(stored.spec.dtype, stored.spec.dtype))
    if stored.strides is None:
        return flat.tobytes()
    steps = tuple(stride * flat.itemsize for stride in stored.strides)
    return np.lib.stride_tricks.as_strided(flat, stored.spec.shape, steps).tobytes()
