"""One file = one directory layout: which files hold a checkpoint's weights, and how they are cut.

A format knows the bytes of one file; a layout knows what files are called and which belong together. Its
constant `LAYOUT` is found by its folder; what a layout finds is `Weights`, whatever it lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.discovery import Registry
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import Format
from ckptconv.stores.tensor import Stored


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one checkpoint, wherever their bytes lie."""

    format: Format
    naming: NamingName
    files: tuple[Path, ...]
    """Those that hold the tensors."""
    tensors: Mapping[str, Stored]
    indexes: tuple[Path, ...] = ()
    """The files that say which tensor is in which shard."""
    layout: str = "huggingface"
    notices: tuple[str, ...] = ()
    """What a user should know of how they were read: one sentence each."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to lay a checkpoint out in a directory."""

    name: str
    read: Callable[[Path], Iterator[Weights]]
    """Open every set of weights that a directory holds in this layout; none where it is of another.
    Raises SourceError: malformed or incomplete."""
    rank: int
    """Low first: which layout counts where a directory holds weights in several."""
    marks: tuple[str, ...] = ()
    """Files of which a directory in this layout has one at least; empty: nothing tells beforehand."""
    folders: tuple[str, ...] = ()
    """Folders below the directory that it reads from."""


LAYOUTS: Registry[str, Layout] = Registry("stores.layouts", "LAYOUT")
"""Every layout, by name."""
