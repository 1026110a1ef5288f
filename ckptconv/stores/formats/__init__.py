"""One file = one file format, behind one small contract: where each tensor's bytes lie.

Reading a header gives `Stored` places; creating a file writes everything but the tensors' bytes and
gives the places that wait for them. Moving bytes between the two is the work of `transfer/` alone; what a
file is called, and which files belong together, a layout knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.discovery import Registry
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.tensor import Extent, Stored, TensorSpec


@dataclass(frozen=True, slots=True)
class Contents:
    """What the header of one file says."""

    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    """What a user should know of how the tensors were found: one sentence each."""


TensorPlaces: TypeAlias = Mapping[str, tuple[Extent, ...]]
"""Tensor name -> where its bytes go in a file that was just created."""


@dataclass(frozen=True, slots=True)
class Format:
    """One file format."""

    name: str
    namings: tuple[NamingName, ...]
    """Which frameworks save it."""
    read: Callable[[Path], Contents]
    """Read a header. Raises SourceError: malformed, unsafe, or a dtype that ckptconv does not know."""
    create: Callable[[Path, Sequence[TensorSpec], NamingName, bool], TensorPlaces] | None = None
    """Write a new file but for the tensors' bytes; the last argument says whether it is a shard.
    Raises OSError. None: ckptconv only reads this format."""
    widened: Mapping[str, str] = field(default_factory=dict)
    """Dtypes that the format has no type for -> the next one that holds every value."""

    magic: bytes = b""
    """How a file begins, for formats that share a file name."""


FORMAT_TAGS: Mapping[NamingName, str] = {"pytorch": "pt", "tf": "tf", "flax": "flax"}
"""What transformers writes into a header as `format`, and reads to tell whose names a file holds."""

FORMATS: Registry[str, Format] = Registry("stores.formats", "FORMAT")
"""Every format, by name."""
