"""Digests that the hub announces: its cache names each content by them, so that the bytes can be held against the name.

Large files go by their sha256, small ones by git's SHA-1 of a blob.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import new, sha256
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import blob_name
from ckptconv.base.workers import finish, workers
from ckptconv.stores.parsers.files import FileReader

WORKERS = 2
BLOCK_BYTES = 1 << 20
"""Read at a time."""
SHA256_DIGITS = 64


def require_announced(paths: Iterable[Path]) -> None:
    """Hold the bytes of files in a cache of the hub against their names; others have none, and are not read.

    Raises: SourceError: they differ, or cannot be read.
    """
    named = [path for path in dict.fromkeys(paths) if blob_name(path)]
    if named:
        with workers(WORKERS) as pool:
            finish([pool.submit(_require, path) for path in named])


def require_same_digest(path: Path, digest: str) -> None:
    """Hold a file's sha256, which is known, against its name in a cache of the hub. Raises SourceError: they differ."""
    name = blob_name(path)
    if name is None:
        return
    if len(name) != SHA256_DIGITS:
        _require(path)
    elif name != digest:
        raise _differs(path, name, digest)


def _require(path: Path) -> None:
    name = blob_name(path)
    if name is None:
        return
    with FileReader(path) as file:
        if len(name) == SHA256_DIGITS:
            digest = sha256()
        else:
            digest = new("sha1", f"blob {file.size}\0".encode(), usedforsecurity=False)
        for at in range(0, file.size, BLOCK_BYTES):
            digest.update(file.read(at, min(BLOCK_BYTES, file.size - at)))
    if digest.hexdigest() != name:
        raise _differs(path, name, digest.hexdigest())


def _differs(path: Path, name: str, digest: str) -> SourceError:
    return SourceError(
        f"{path}: the hub announced {name}, these bytes have {digest}.\n"
        "The download or the cache is damaged: delete the file that the link leads to, and fetch it again."
    )
