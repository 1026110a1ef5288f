"""What both forms of a PyTorch file share: storages, tensors as views of them, and the state_dict.

A PyTorch tensor is a view: a storage, an offset into it, a size and a stride for each axis. Several
tensors may view one storage (tied weights), and a view need not be row-major (a transposed one). All sums are in
Python's integers, which do not overflow.

Source: torch/_utils.py (`_rebuild_tensor_v2`), torch/serialization.py (`persistent_id`), torch/storage.py, and the
notes on strides in torch.Tensor.stride; PyTorch 2.13.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeAlias, TypeGuard

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FETCH, limits, more, wrong_file
from ckptconv.stores.parsers.pickle_machine import Function, OrderedDict
from ckptconv.stores.parsers.stream import (
    Malformed,
    refusal,
    save_weights_alone,
    shown,
    with_article,
)
from ckptconv.stores.tensor import (
    ITEMSIZE,
    MAX_NAME,
    MAX_RANK,
    ChecksumSpan,
    Extent,
    Stored,
    TensorSpec,
    is_size,
)


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


_KEY = re.compile("[0-9]{1,20}")
_MAX_LOCATION = 32

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""What the form before PyTorch 1.6 begins with, pickled."""
ZIP = "the zip form (PyTorch 1.6 and later)"
LEGACY = "the form before PyTorch 1.6"

_WRAPPERS = ("state_dict", "model", "module", "model_state_dict")
"""Where training scripts put a state_dict within what they save."""
MAX_DEPTH = 3
"""Levels of such keys that are looked into."""
SHOWN_KEYS = 5
"""Of what else they saved, in one notice."""


Keys: TypeAlias = tuple[str, ...]
"""Of dicts in one another, from the outside in."""


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
        if tag != "storage" or not isinstance(kind, StorageType) or not is_size(numel):
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


def _are_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= MAX_RANK and all(map(is_size, value))


def _tensor(arguments: tuple[object, ...]) -> Tensor:
    """Stand in for torch._utils._rebuild_tensor(storage, offset, size, stride)."""
    if len(arguments) != 4:
        raise Malformed(f"a tensor of {len(arguments)} arguments")
    storage, offset, shape, stride = arguments
    if (
        not isinstance(storage, Storage)
        or not is_size(offset)
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


@dataclass(frozen=True, slots=True)
class StateDict:
    """The tensors of a model in a pickle."""

    tensors: Mapping[str, Tensor]
    notices: tuple[str, ...] = ()
    """How they were found, where they are not all that the pickle holds."""


def state_dict(value: object, path: Path) -> StateDict:
    """Return the tensors by name: of a flat state_dict, or of the one that a training script saved among other things.

    Raises: SourceError: there is none, or more than one, or it holds anything but tensors under printable names.
    """
    if not isinstance(value, dict):
        raise refusal(path, f"it holds {with_article(value)}, not a state_dict (name -> tensor)")
    if not all(isinstance(item, Tensor) for item in value.values()):
        keys = _only_state_dict(value, path)
        names = list(_beside(value, keys))
        left = f"; the rest is left: {', '.join(names[:SHOWN_KEYS])}" if names else ""
        more = f" and {len(names) - SHOWN_KEYS} more" if len(names) > SHOWN_KEYS else ""
        notice = f"{path.name}: the weights are those under {_spelt(keys)}{left}{more}"
        return StateDict(_tensors(_below(value, keys), path), (notice,))
    return StateDict(_tensors(value, path))


def _only_state_dict(value: Mapping[str, object], path: Path) -> Keys:
    """Return the keys, from the outside in, of the one state_dict in what a training script saved.

    Raises: SourceError: none, several, or one under a key that does not say that it is the model's.
    """
    places = list(_state_dicts(value))
    certain = [keys for keys in places if all(key in _WRAPPERS for key in keys)]
    if len(places) == 1 and certain:
        return places[0]
    if not places:
        key, item = next((key, item) for key, item in value.items() if not isinstance(item, Tensor))
        raise refusal(path, f"{shown(key)} is {with_article(item)}, not a tensor")
    which = ", ".join(map(_spelt, places[:SHOWN_KEYS]))
    raise refusal(
        path,
        f"tensors lie under {which}: which of them are the model's is not certain",
        advice=save_weights_alone(path, "a training checkpoint", (certain or places)[0]),
    )


def _state_dicts(value: Mapping[str, object]) -> Iterator[Keys]:
    """Return the keys of every dict of tensors alone: under any key, below wrappers' keys, and under those below.

    Each dict is judged once, since a pickle may hold one in many places.
    """
    judged: dict[int, bool] = {}
    left: list[tuple[Keys, object]] = [((key,), item) for key, item in value.items()]
    for keys, item in left:
        if not isinstance(item, dict) or not item:
            continue
        if id(item) not in judged:
            judged[id(item)] = all(isinstance(each, Tensor) for each in item.values())
        if judged[id(item)]:
            yield keys
        elif len(keys) < MAX_DEPTH:
            wrapped = all(key in _WRAPPERS for key in keys)
            below = item if wrapped else [key for key in _WRAPPERS if key in item]
            left += [((*keys, key), item[key]) for key in below]


def _below(value: Mapping[str, object], keys: Keys) -> Mapping[str, object]:
    for key in keys:
        inner = value[key]
        assert isinstance(inner, dict)
        value = inner
    return value


def _beside(value: Mapping[str, object], keys: Keys) -> Iterator[str]:
    """Return what lies beside the dict under some keys, at every level."""
    for depth, key in enumerate(keys):
        level = _below(value, keys[:depth])
        yield from (_spelt((*keys[:depth], beside)) for beside in level if beside != key)


def _spelt(keys: Keys) -> str:
    return ".".join(map(shown, keys))


def _tensors(value: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    """Return the tensors of a flat dict. Raises SourceError: too many, something else, or an unprintable name."""
    if len(value) > limits().tensors:
        raise refusal(
            path, f"{len(value)} tensors, more than {limits().tensors}", advice=more("tensors")
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in value.items():
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise refusal(path, f"tensor name {shown(name)} is empty, too long, or not printable")
        if not isinstance(tensor, Tensor):
            raise refusal(path, f"{shown(name)} is {with_article(tensor)}, not a tensor")
        tensors[name] = tensor
    return tensors


def wrong_form(path: Path, start: bytes, form: str) -> SourceError:
    """Return the error for a file that is not of a form.

    Args: start: its first 512 bytes or fewer. form: the format that was to read it.
    """
    expected = f"{ZIP} or {LEGACY}"
    wrong = wrong_file(path, expected, start, form)
    begins = f"a file that begins with {shown(start[:16])}"
    return wrong or refusal(path, f"expected {expected}, found {begins}", advice=FETCH)
