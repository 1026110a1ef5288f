"""What a reader may spend on a stranger's file. Every real checkpoint is far below the defaults.

The reading code asks `limits()`; `--limit NAME=VALUE` and `with limited(NAME=VALUE):` change them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on headers; the tensors' own bytes are bounded by the size of the files."""

    header_bytes: int = 16 << 20
    """Header of a safetensors file, the structure of a msgpack file, or the directory of a `.bin` file."""
    tensors: int = 200_000
    """Tensors in one file."""
    json_bytes: int = 16 << 20
    """A config, an index or another JSON file."""
    json_depth: int = 64
    """Objects and lists inside each other."""
    pickle_bytes: int = 64 << 20
    """The pickled structure of a `.bin` file."""
    pickle_operations: int = 1_000_000
    """Opcodes in it: a tensor takes about 45. The worst of them take 1 s and 100 MB together."""
    expansion: int = 4
    """Bytes that the tensors of a `.bin` file may show for each byte that is stored (views may overlap)."""
    hdf5_bytes: int = 2 << 30
    """Address space of the process that reads an HDF5 header."""
    hdf5_seconds: int = 60
    """CPU time of that process."""


_CURRENT: ContextVar[Limits] = ContextVar("limits", default=Limits())  # noqa: B039  # frozen
NAMES = tuple(limit.name for limit in fields(Limits))


def limits() -> Limits:
    """Return the limits that hold here."""
    return _CURRENT.get()


def more(name: str) -> str:
    """Say how to lift a limit, for the end of a refusal."""
    return f"`ckptconv --limit {name}=N` allows more"


@contextmanager
def limited(**changes: int) -> Iterator[Limits]:
    """Read with other limits.

    Raises: TypeError: there is no limit of that name.
    """
    token = _CURRENT.set(replace(_CURRENT.get(), **changes))
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)
