"""The digest that a trace carries of itself, so that a bit that was flipped on the way is no verdict.

It is the sha256 of the whole file, with zeros where its own 64 digits stand in the header.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.stores.parsers.files import FileReader

PLACEHOLDER = "0" * 64
BLOCK_BYTES = 1 << 20
LENGTH_BYTES = 8
"""A file of safetensors begins with the length of its header, in so many bytes."""


def seal(path: Path) -> None:
    """Put the digest in the place of its zeros. Raises SourceError, OSError."""
    digest, offset = _digest(path, PLACEHOLDER)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(digest.encode())


def require_sealed(path: Path, declared: str) -> None:
    """Compare a trace with the digest that its metadata has.

    Raises: SourceError: it is another, or none.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", declared) or _digest(path, declared)[0] != declared:
        raise SourceError(
            f"{path}: was changed after it was written: it does not have the sha256 that it carries.\n"
            "Copy or record it again."
        )


def _digest(path: Path, declared: str) -> tuple[str, int]:
    """Return the digest of a file without the digits that it carries, and where those stand."""
    with FileReader(path) as file:
        size = LENGTH_BYTES + int.from_bytes(file.read(0, LENGTH_BYTES), "little")
        header = file.read(0, size)
        quoted = f'"{declared}"'.encode()
        if header.count(quoted) != 1:
            raise SourceError(f"{path}: carries no sha256 of its own, or two")
        digest = sha256(header.replace(quoted, f'"{PLACEHOLDER}"'.encode()))
        for offset in range(size, file.size, BLOCK_BYTES):
            digest.update(file.read(offset, min(BLOCK_BYTES, file.size - offset)))
    return digest.hexdigest(), header.index(quoted) + 1
