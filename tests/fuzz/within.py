"""What a file that was read may say, whatever its bytes are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptconv.stores.formats import Contents


def within(read: Callable[[Path], Contents]) -> Callable[[Path], Contents]:
    """Return a reader that looks at its own answer: names that print, and places in the file that fit the shapes."""

    def checked(path: Path) -> Contents:
        contents, size = read(path), path.stat().st_size
        for name, stored in contents.tensors.items():
            assert name == stored.spec.name
            assert name.isprintable()
            assert all(
                0 <= extent.offset <= extent.offset + extent.nbytes <= size
                for extent in stored.extents
            )
            assert sum(extent.nbytes for extent in stored.extents) == stored.spec.nbytes
        return contents

    return checked


def rewrite(path: Path, raw: bytes) -> None:
    """Give a file other bytes without emptying it first, after which ext4 would wait for the disk."""
    with path.open("r+b") as file:
        file.write(raw)
        file.truncate()
