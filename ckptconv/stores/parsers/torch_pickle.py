"""What both forms of a PyTorch file share: storages, tensors as views of them, and the state_dict.

A PyTorch tensor is a view: a storage, an offset into it, a size and a stride for each axis. Several
tensors may view one storage (tied weights), and a view need not be row-major (a transposed one).

Source: torch/_utils.py (`_rebuild_tensor_v2`), torch/serialization.py (`persistent_id`), PyTorch 2.13.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ckptconv.base.errors import SourceError
from ckptconv.base.limits import limits, more
from ckptconv.stores.parsers.pickle_machine import Function, OrderedDict
from ckptconv.stores.parsers.stream import FETCH, RESAVE, Malformed, refusal, shown
from ckptconv.stores.tensor import ITEMSIZE

MAX_NAME = 512
"""Characters of a tensor's name."""
MAX_RANK = 32

_INT64 = 1 << 63
_KEY = re.compile("[0-9]{1,20}")
_MAX_LOCATION = 32

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""What the form before PyTorch 1.6 begins with, pickled."""
ZIP = "the zip form (PyTorch 1.6 and later)"
LEGACY = "the form before PyTorch 1.6"

_KINDS = (
    (b"PK\x03\x04", ZIP, RESAVE),
    (b"\x80\x02\x8a\x0a" + MAGIC_NUMBER.to_bytes(10, "little"), LEGACY, RESAVE),
    (
        b"version https://git-lfs",
        "a Git LFS pointer",
        "Fetch the file that it points to: git lfs pull.",
    ),
)
"""First bytes -> what to call it, what to do."""

_WRAPPERS = ("state_dict", "model", "module", "model_state_dict")
"""Where training scripts put a state_dict within what they save."""


@dataclass(frozen=True, slots=True)
class StorageType:
    """What `torch.FloatStorage` and its like stand for in a pickle."""

    dtype: str


@dataclass(frozen=True, slots=True)
class Storage:
    """One array of elements in the file."""

    dtype: str
    key: str
    """Decimal digits; names the record that holds the data."""
    numel: int

    @property
    def nbytes(self) -> int:
        """Size of the data [bytes]."""
        return self.numel * ITEMSIZE[self.dtype]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage, as the pickle describes it: nothing is checked but the types."""

    storage: Storage
    offset: int
    """First element [elements of the storage]."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """[elements]."""


class Storages:
    """Meets the persistent ids of one pickle, and remembers the storages that they name."""

    def __init__(self, *, legacy: bool) -> None:
        self._length = 6 if legacy else 5
        self.found: dict[str, Storage] = {}

    def __call__(self, saved: object) -> Storage:
        """Return the storage that a persistent id names. Raises Malformed: any other id."""
        # The sixth is a view of the storage, from before tensors were views; PyTorch writes None there.
        if (
            not isinstance(saved, tuple)
            or len(saved) != self._length
            or saved[5:] not in ((), (None,))
        ):
            raise Malformed("a persistent id that is not that of a storage")
        tag, kind, key, location, numel = saved[:5]
        if tag != "storage" or not isinstance(kind, StorageType) or not _is_size(numel):
            raise Malformed("a persistent id that is not that of a storage")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise Malformed("a storage whose key is no number")
        if not isinstance(location, str) or len(location) > _MAX_LOCATION:
            raise Malformed("a storage whose device is no short string")
        if location == "meta":
            raise Malformed("a storage on the meta device, which has no values")
        storage = Storage(kind.dtype, key, numel)
        if self.found.setdefault(key, storage) != storage:
            raise Malformed(f"storage {key} has two dtypes or two lengths")
        return storage


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _INT64


def _are_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= MAX_RANK and all(map(_is_size, value))


def _tensor(arguments: tuple[object, ...]) -> Tensor:
    """Stand in for torch._utils._rebuild_tensor(storage, offset, size, stride)."""
    if len(arguments) != 4:
        raise Malformed(f"a tensor of {len(arguments)} arguments")
    storage, offset, shape, stride = arguments
    if (
        not isinstance(storage, Storage)
        or not _is_size(offset)
        or not _are_sizes(shape)
        or not _are_sizes(stride)
    ):
        raise Malformed("a tensor whose storage, offset, size or stride is none")
    if len(shape) != len(stride):
        raise Malformed(f"a tensor with {len(shape)} sizes but {len(stride)} strides")
    return Tensor(storage, offset, shape, stride)


def _tensor_v2(arguments: tuple[object, ...]) -> Tensor:
    """Stand in for torch._utils._rebuild_tensor_v2(..., requires_grad, backward_hooks[, metadata])."""
    if len(arguments) not in (6, 7) or not isinstance(arguments[4], bool):
        raise Malformed(f"a tensor of {len(arguments)} arguments")
    # Metadata can say that the values are to be negated or conjugated, so it must not be passed over.
    if not all(_is_empty(extra) for extra in arguments[5:]):
        raise Malformed("a tensor with hooks or metadata")
    return _tensor(arguments[:4])


def _parameter(arguments: tuple[object, ...]) -> Tensor:
    """Stand in for torch._utils._rebuild_parameter(data, requires_grad, backward_hooks)."""
    if len(arguments) != 3 or not isinstance(arguments[1], bool) or not _is_empty(arguments[2]):
        raise Malformed("a parameter with hooks, or not of three arguments")
    if not isinstance(arguments[0], Tensor):
        raise Malformed("a parameter that is no tensor")
    return arguments[0]


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, dict) and not value)


def _ordered_dict(arguments: tuple[object, ...]) -> OrderedDict:
    if arguments:
        raise Malformed("an OrderedDict made with arguments")
    return OrderedDict()


NAMES: Mapping[str, object] = {
    "collections OrderedDict": Function(_ordered_dict),
    "torch._utils _rebuild_tensor": Function(_tensor),
    "torch._utils _rebuild_tensor_v2": Function(_tensor_v2),
    "torch._utils _rebuild_parameter": Function(_parameter),
    "torch DoubleStorage": StorageType("float64"),
    "torch FloatStorage": StorageType("float32"),
    "torch HalfStorage": StorageType("float16"),
    "torch BFloat16Storage": StorageType("bfloat16"),
    "torch LongStorage": StorageType("int64"),
    "torch IntStorage": StorageType("int32"),
    "torch ShortStorage": StorageType("int16"),
    "torch CharStorage": StorageType("int8"),
    "torch ByteStorage": StorageType("uint8"),
    "torch BoolStorage": StorageType("bool"),
}
"""Every global that a state_dict needs -> what stands in for it."""


def state_dict(value: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name, if the value of a pickle is a flat state_dict.

    Raises: SourceError: it is none, or holds anything but tensors under printable names.
    """
    if not isinstance(value, dict):
        raise refusal(path, f"it holds a {type(value).__name__}, not a state_dict (name -> tensor)")
    if len(value) > limits().tensors:
        raise refusal(
            path, f"{len(value)} tensors, more than {limits().tensors}", advice=more("tensors")
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in value.items():
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise refusal(path, f"tensor name {shown(name)} is empty, too long, or not printable")
        if not isinstance(tensor, Tensor):
            found = f"{shown(name)} is a {type(tensor).__name__}, not a tensor"
            inner = name in _WRAPPERS and isinstance(tensor, dict)
            hint = f"; save the state_dict under {shown(name)} alone" if inner else ""
            raise refusal(path, found + hint)
        tensors[name] = tensor
    return tensors


def wrong_form(path: Path, wanted: str, start: bytes) -> SourceError:
    """Return the error for a file that is not of the form `wanted`; `start`: its first 512 bytes or fewer."""
    if start[257:262] == b"ustar":
        return refusal(path, "a tar file, as the first releases of PyTorch wrote")
    for prefix, kind, advice in _KINDS:
        if start.startswith(prefix):
            return refusal(path, f"expected {wanted}, found {kind}", advice=advice)
    found = f"a file that begins with {shown(start[:16])}" if start else "an empty file"
    return refusal(path, f"expected {ZIP} or {LEGACY}, found {found}", advice=FETCH)
