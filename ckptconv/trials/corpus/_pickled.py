"""Pickles opcode by opcode, as torch.save writes them; no pickle module.

Source: Lib/pickletools.py of CPython 3.11; torch/serialization.py of PyTorch 2.13.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from math import prod

from ckptconv.trials.corpus._model import shapes, values

PROTO = b"\x80\x02"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n)R"
MAGIC = PROTO + b"\x8a\n" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
"""First pickle of the form before PyTorch 1.6."""


def text(value: str | bytes) -> bytes:
    """Return the opcode that pushes a string."""
    raw = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """Return the opcode that pushes an integer."""
    if 0 <= value < 256:
        return bytes([0x4B, value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return bytes([0x8A, len(raw)]) + raw


def numbers(values: Iterable[int]) -> bytes:
    """Return the opcodes that push a tuple of integers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(
    key: str = "0",
    numel: bytes | int = 6,
    *,
    kind: str = "FloatStorage",
    place: str = "cpu",
    more: bytes = b"",
) -> bytes:
    """Return the opcodes that push a storage; `more`: what follows in its tuple (None in the older form)."""
    size = number(numel) if isinstance(numel, int) else numel
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text(place)
        + size
        + more
        + b"tQ"
    )


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a tensor that lies as it is read."""
    return tuple(prod(shape[n + 1 :]) for n in range(len(shape)))


def view(shape: tuple[int, ...], stride: tuple[int, ...] | None = None, offset: int = 0) -> bytes:
    """Return the opcodes that push offset, size and stride."""
    return number(offset) + numbers(shape) + numbers(row_major(shape) if stride is None else stride)


def tensor(stored: bytes, view: bytes, more: bytes = b"\x89" + ORDERED) -> bytes:
    """Return the opcodes that push a tensor; `more`: requires_grad, hooks, and what may follow."""
    return REBUILD + b"(" + stored + view + more + b"tR"


def entries(*, legacy: bool = False) -> dict[str, bytes]:
    """Return name -> opcodes of its tensor, for the whole model; the storages' keys are 0, 1, 2 ..."""
    more = b"N" if legacy else b""
    return {
        name: tensor(storage(str(at), prod(shape), more=more), view(shape))
        for at, (name, shape) in enumerate(shapes().items())
    }


def state_dict(items: Mapping[str, bytes]) -> bytes:
    """Return the pickle of a state_dict, of opcodes by name."""
    pairs = b"".join(text(name) + value for name, value in items.items())
    return PROTO + ORDERED + b"(" + pairs + b"u}" + text("_metadata") + b"}sb."


def with_first(opcodes: bytes, *, legacy: bool = False) -> bytes:
    """Return the pickle of the whole model with other opcodes for its first tensor."""
    items = entries(legacy=legacy)
    return state_dict({**items, next(iter(items)): opcodes})


def copied(count: int) -> bytes:
    """Return a state_dict whose first tensor stands under many names more."""
    (name, first), *rest = entries().items()
    pairs = [text(name) + first + b"q\0", *(text(twin) + value for twin, value in rest)]
    return (
        PROTO
        + ORDERED
        + b"("
        + b"".join([*pairs, *(text(f"copy.{n}") + b"h\0" for n in range(count))])
        + b"u."
    )


def data() -> dict[str, bytes]:
    """Return storage key -> its bytes, for the whole model."""
    return {str(at): values(shape) for at, shape in enumerate(shapes().values())}
