"""A checkpoint's files, opened so that none leads astray.

They come from strangers: `config.json` may be a link to a private file, or a pipe at which a reader waits
for ever. A link counts only where it stays in the folder it lies in, or leads into a cache of the hub, whose contents
bear their own digest as names (`models--ORG--NAME/blobs/HASH`, held against the bytes where they are read).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ckptconv.base.errors import SourceError

FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
"""No link is followed unseen, and a pipe without a writer is opened at once instead of waited for."""
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_FOLLOWS: ContextVar[bool] = ContextVar("follows links", default=False)
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""What the hub's cache calls contents: by the digest of git (SHA-1), or by their sha256."""


@contextmanager
def following_links(follow: bool = True) -> Iterator[None]:
    """Follow links that lead out of a checkpoint, within the block: its user trusts them."""
    token = _FOLLOWS.set(follow)
    try:
        yield
    finally:
        _FOLLOWS.reset(token)


def follows_links() -> bool:
    """Tell whether links that lead out of a checkpoint are followed here."""
    return _FOLLOWS.get()


def blob_name(path: Path) -> str | None:
    """Return the name of what a link leads to in a cache of the hub: a digest of its bytes; None: of another."""
    if not path.is_symlink():
        return None
    real = Path(os.path.realpath(path))
    return real.name if _is_blob(real) else None


def _is_blob(real: Path) -> bool:
    """Tell whether a file lies in a cache of the hub, under the digest of its bytes: `models--ORG--NAME/blobs/HASH`."""
    cache = real.parent.parent.name.startswith(("models--", "datasets--", "spaces--"))
    return cache and real.parent.name == "blobs" and BLOB.fullmatch(real.name) is not None


def open_source(path: Path) -> int:
    """Open a regular file for reading and return its descriptor, which the caller closes.

    Raises: SourceError: no such file, a link that leads elsewhere, or a pipe, device, socket or directory.
    """
    try:
        fd = _open(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    kind = KINDS.get(stat.S_IFMT(os.fstat(fd).st_mode))
    if kind is not None:
        os.close(fd)
        raise SourceError(f"{path}: is {kind}, not a file")
    return fd


def read_source(path: Path, at_most: int) -> bytes:
    """Return the first `at_most` bytes of a file. Raises SourceError: as `open_source`, or it cannot be read."""
    with os.fdopen(open_source(path), "rb", buffering=0) as file:
        try:
            return b"".join(iter(lambda: file.read(min(at_most - file.tell(), 1 << 20)), b""))
        except OSError as error:
            raise SourceError(f"{path}: cannot be read ({error.strerror})") from None


def _open(path: Path) -> int:
    """Open a file, or what a link that may be followed leads to. Raises OSError, SourceError."""
    return os.open(real_path(path) if path.is_symlink() else path, FLAGS)


def real_path(path: Path) -> Path:
    """Return where a file really lies. Raises OSError: nowhere. SourceError: a link leads out of the checkpoint."""
    folder, real = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path, strict=True))
    inside = folder in real.parents or real.parent == _blobs(folder) or _is_blob(real)
    if not inside and not _FOLLOWS.get():
        raise SourceError(
            f"{path}: is a link that leads out of the checkpoint, which ckptconv does not follow.\n"
            "Where you trust it, put the file itself in its place, or run `ckptconv --follow-links ...`."
        )
    return real


def _blobs(folder: Path) -> Path | None:
    """Return where the hub's cache keeps the contents of a snapshot's files; None for another folder."""
    for snapshots in folder.parents:
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--"):
            return snapshots.parent / "blobs"
    return None
