"""A checkpoint's files, opened so that none leads astray, read within limits, and the same to the end.

They come from strangers: `config.json` may be a link to a private file, or a pipe at which a reader waits
for ever. A link counts only where it stays in the folder it lies in, or leads into a cache of the hub, whose contents
bear their own digest as names: large ones their sha256, small ones git's SHA-1 of a blob
(`models--ORG--NAME/blobs/HASH`, held against the bytes where they are read). What a reader may spend is bounded: it
asks `limits()`; `--limit NAME=VALUE` and `with limited(NAME=VALUE):` change them, and every real checkpoint is far
below the defaults. A source that changes while it is read is refused: what was read of it is two things in one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias

from ckptconv.base.errors import SourceError, system_reason
from ckptconv.base.presence import (
    did_you_mean,
    files_below,
    is_file,
    is_link,
    lies_at,
    names_in,
    readable_status,
    reading,
)
from ckptconv.base.weight_names import FILE_NAMES
from ckptconv.base.workers import finish, workers


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on headers; the tensors' own bytes are bounded by the size of the files."""

    header_bytes: int = 16 << 20
    """Header of a safetensors file, the structure of a msgpack file, or the directory of a `.bin` file."""
    tensors: int = 200_000
    """Tensors in one file."""
    json_bytes: int = 16 << 20
    """A config, an index or another JSON file; a manifest may have eight times as many."""
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


# Sparse files, of which a part is here: holes are fetched before they are read. Whoever opens a source for reading
# asks for them, here or before the folder is given to a framework, so that no hole is read as zeros.


class LazyFile(Protocol):
    """One file that lies elsewhere, and in part here."""

    size: int
    """[bytes]"""

    def ensure(self, offset: int, nbytes: int) -> None:
        """Fetch what is not here of some bytes. Raises SourceError, FrameworkError."""
        ...  # pragma: no cover

    def first(self) -> FileIdentity:
        """Return the state of the file before anything was read of it. Raises SourceError, FrameworkError."""
        ...  # pragma: no cover

    def identity(self) -> FileIdentity:
        """Return what differs once the file changed where it lies. Raises SourceError, FrameworkError."""
        ...  # pragma: no cover


_FILES: dict[str, LazyFile] = {}
_ADDRESSES: dict[str, str] = {}
"""Folder here -> address."""


def register_lazy(path: Path, file: LazyFile) -> None:
    """Note that a file here has holes."""
    _FILES[os.fspath(path)] = file


def register_mirror(path: Path, address: str) -> None:
    """Note where the files of a folder lie."""
    _ADDRESSES[os.fspath(path)] = address


def lazy_file(path: Path) -> LazyFile | None:
    """Return the file of a path, if it has holes."""
    return _FILES.get(os.path.abspath(path)) if _FILES else None


def ensure_whole(path: Path) -> None:
    """Fetch the rest of a file; nothing where it is a usual one."""
    file = lazy_file(path)
    if file is not None:
        file.ensure(0, file.size)


def ensure_folder(folder: Path) -> None:
    """Fetch the rest of every file of a folder: before something reads it that does not ask here."""
    for path in _below(folder):
        ensure_whole(Path(path))


def _below(folder: Path) -> Iterator[str]:
    start = os.path.join(os.path.abspath(folder), "")  # noqa: PTH118  # with a slash at the end
    return (path for path in list(_FILES) if path.startswith(start))


def with_addresses(text: str) -> str:
    """Return a text for people, in which a folder that stands for an address is called by it."""
    for folder, address in _ADDRESSES.items():
        text = text.replace(folder, address)
    return text


FileIdentity: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size [bytes], times of the last change of content and of inode [ns]."""


def identity(status: os.stat_result) -> FileIdentity:
    """Return what differs once a file was written to, cut or replaced; reading changes none of it."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def identity_now(path: Path) -> FileIdentity | None:
    """Return the identity of what a path leads to, here or where it lies; None where it leads nowhere.

    Raises: SourceError: nobody can tell. FrameworkError: it lies elsewhere, and cannot be asked for.
    """
    if (lazy := lazy_file(path)) is not None:
        return lazy.identity()
    status = readable_status(path)
    return None if status is None else identity(status)


def require_same(path: Path, before: FileIdentity | None, fd: int | None = None) -> None:
    """Compare a file, by its path and where it is open by its descriptor, with what it was.

    Raises: SourceError: it is another file by now, or another content.
    """
    if (
        before is None
        or identity_now(path) != before
        or (fd is not None and _identity_open(path, fd) != before)
    ):
        raise SourceError(
            f"{path}: changed while it was read; nothing was published.\nRun again when nothing writes to it."
        )


def _identity_open(path: Path, fd: int) -> FileIdentity:
    with reading(path):
        return identity(os.fstat(fd))


def _before(path: Path) -> FileIdentity | None:
    """Return what a file is before it is read; of one that lies elsewhere and was read, what it was then."""
    lazy = lazy_file(path)
    return lazy.first() if lazy else identity_now(path)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the files of some directories were before the first of them was read."""

    files: Mapping[Path, FileIdentity]

    @classmethod
    def of(cls, *folders: Path) -> Snapshot:
        """Look at every entry. Raises SourceError: a folder cannot be listed, or an entry not be looked at."""
        files = (folder / name for folder in folders for name in names_in(folder))
        return cls({file: before for file in files if (before := _before(file))})

    @classmethod
    def below(cls, *paths: Path) -> Snapshot:
        """Look at every file at any depth below some directories; a file stands for itself. Raises SourceError."""
        files = [file for path in paths for file in files_below(path)]
        return cls({file: before for file in files if (before := _before(file))})

    def require_unchanged(self, read: Iterable[Path]) -> None:
        """Look again at the files that were read. Raises SourceError: one changed, appeared or went away."""
        for path in read:
            require_same(path, self.files.get(path))

    def require_none_new(self, paths: Iterable[Path]) -> None:
        """Look whether one of some files has come meanwhile. Raises SourceError: it has."""
        for path in paths:
            if path not in self.files and identity_now(path) is not None:
                raise SourceError(
                    f"{path}: appeared while the other files were read; nothing was published.\n"
                    "Run again when nothing writes to the directory."
                )


FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
"""No link is followed unseen, and a pipe without a writer is opened at once instead of waited for."""
SPECIAL_FILES = {
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
    if not is_link(path):
        return None
    real = Path(os.path.realpath(path))
    return real.name if _is_blob(real) else None


def _is_blob(real: Path) -> bool:
    """Tell whether a file lies in a cache of the hub, under the digest of its bytes: `models--ORG--NAME/blobs/HASH`."""
    cache = real.parent.parent.name.startswith(("models--", "datasets--", "spaces--"))
    return cache and real.parent.name == "blobs" and BLOB.fullmatch(real.name) is not None


def open_source(path: Path, *, whole: bool = True) -> int:
    """Open a regular file for reading and return its descriptor, which the caller closes.

    Args: whole: fetch what is not here of it; else the caller does, before it reads.

    Raises: SourceError: no such file, a link that leads elsewhere, or a pipe, device, socket or directory.
    """
    if whole:
        ensure_whole(path)
    with reading(path):
        fd = _open(path)
        try:
            _require_regular(fd, path)
        except BaseException:
            os.close(fd)
            raise
    return fd


def _require_regular(fd: int, path: Path) -> None:
    """Refuse what is open and no file. Raises SourceError. OSError."""
    kind = SPECIAL_FILES.get(stat.S_IFMT(os.fstat(fd).st_mode))
    if kind is not None:
        raise SourceError(f"{path}: is {kind}, not a file")


def require_file(path: Path, advice: str, where: str = "") -> None:
    """Refuse what a user names as a file to read and is none: with what was meant, or what to give.

    Args: where: what names it, if that is not the user; a sentence ends so: `line 3: `.
    Raises: SourceError.
    """
    if why := why_no_file(path):
        near = did_you_mean(path, is_file) if not lies_at(path) else ""
        raise SourceError(f"{where}{path}: {why}.{near or f' {advice}'}")


def why_no_file(path: Path | str) -> str:
    """Say why a path that a user names is no file to read: absent, or a directory, pipe ...; empty where it is one."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # takes names that are too long
    except (OSError, ValueError):
        return "no such file"
    kind = SPECIAL_FILES.get(stat.S_IFMT(mode))
    return f"is {kind}, not a file" if kind else ""


def read_source(path: Path, at_most: int) -> bytes:
    """Return the first `at_most` bytes of a file. Raises SourceError: as `open_source`, or it cannot be read."""
    if (lazy := lazy_file(path)) is not None:
        lazy.ensure(0, at_most)
    fd = open_source(path, whole=False)
    with reading(path), os.fdopen(fd, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(min(at_most - file.tell(), 1 << 20)), b""))


def _open(path: Path) -> int:
    """Open a file, or what a link that may be followed leads to. Raises OSError, SourceError."""
    return os.open(real_path(path) if is_link(path) else path, FLAGS)


def real_path(path: Path) -> Path:
    """Return where a file really lies. Raises SourceError: nowhere, or a link leads out of the checkpoint."""
    with reading(path):
        folder, real = (Path(os.path.realpath(each, strict=True)) for each in (path.parent, path))
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


BLOCK_BYTES = 1 << 20
"""Read at a time."""


class FileReader:
    """One file open for positioned reads; a context manager. Raises SourceError as `open_source` does.

    Plain reads instead of a memory map: a map of a file that someone truncates kills the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lazy = lazy_file(path)
        first = self._lazy.first() if self._lazy else None
        self._fd = open_source(path, whole=False)
        try:
            with reading(path):
                status = os.fstat(self._fd)
        except SourceError:
            self.close()
            raise
        self.identity = first or identity(status)
        """What changes when the file is written to or replaced."""
        self.size = status.st_size
        """Length of the file [bytes]."""
        self.inode = (status.st_dev, status.st_ino)
        """Which file this is, whatever its name leads to meanwhile."""

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it cannot be read any more."""
        os.close(self._fd)

    def blocks(self) -> Iterator[bytes]:
        """Return the bytes in order, `BLOCK_BYTES` at a time. Raises SourceError: as `read`."""
        for at in range(0, self.size, BLOCK_BYTES):
            yield self.read(at, min(BLOCK_BYTES, self.size - at))

    def require_unchanged(self) -> None:
        """Raise SourceError where the file is not what it was when it was opened."""
        require_same(self.path, self.identity, None if self._lazy else self._fd)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`.

        Raises: SourceError: the file ends before.
        """
        if offset < 0 or nbytes < 0 or offset + nbytes > self.size:
            raise SourceError(
                f"{self.path}: cut short: needs bytes up to {offset + nbytes}, the file has {self.size}.\n"
                "Fetch or save it again."
            )
        buffer = bytearray(nbytes)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`.

        Raises: SourceError: the file ends before, or cannot be read.
        """
        if self._lazy:
            self._lazy.ensure(offset, len(buffer))
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise SourceError(
                    f"{self.path}: cannot be read at byte {offset + done} ({system_reason(error)})"
                ) from None
            if count == 0:
                raise SourceError(
                    f"{self.path}: cut short at byte {offset + done}. Fetch or save it again."
                )
            done += count


WRITE_BYTES = 1 << 20
"""Written at a time: for longer runs Linux looks for huge pages, which may take seconds a GB (measured, ext4, 6.18)."""


def write_at(fd: int, offset: int, data: memoryview | bytes) -> None:
    """Write all of `data` at `offset`. Raises OSError."""
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done : done + WRITE_BYTES], offset + done)


SHA256_DIGITS = 64


def require_announced(paths: Iterable[Path]) -> None:
    """Hold the bytes of files in a cache of the hub against their names; others have none, and are not read.

    Raises: SourceError: they differ, or cannot be read.
    """
    named = [path for path in dict.fromkeys(paths) if blob_name(path)]
    if named:
        with workers() as pool:
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
    from hashlib import (
        new,
        sha256,
    )  # here, since OpenSSL takes long to load, and few files have such a name

    name = blob_name(path)
    if name is None:
        return
    with FileReader(path) as file:
        if len(name) == SHA256_DIGITS:
            digest = sha256()
        else:
            digest = new("sha1", f"blob {file.size}\0".encode(), usedforsecurity=False)
        for block in file.blocks():
            digest.update(block)
    if digest.hexdigest() != name:
        raise _differs(path, name, digest.hexdigest())


def _differs(path: Path, name: str, digest: str) -> SourceError:
    return SourceError(
        f"{path}: the hub announced {name}, these bytes have {digest}.\n"
        "The download or the cache is damaged: delete the file that the link leads to, and fetch it again."
    )


START_BYTES = 512
"""Enough to tell what a file is."""
FETCH = "The file is incomplete or damaged: fetch or save it again."


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file."""

    name: str
    """As a message says it, with its article."""
    pattern: re.Pattern[bytes]
    """How it begins."""
    advice: str
    """What to do about it."""
    form: str = ""
    """The format of ckptconv that reads it."""


def _kind(name: str, pattern: bytes, advice: str, form: str = "") -> FileKind:
    return FileKind(name, re.compile(pattern, re.DOTALL), advice, form)


def _renamed(form: str) -> str:
    return f"If it holds the weights, rename it to {FILE_NAMES[form]}."


POINTER, HTML = "a Git LFS pointer", "a page of HTML"
"""What a clone without git-lfs, and a download that went wrong, leave in place of any file."""
KINDS = (
    _kind(
        POINTER,
        rb"version https://git-lfs",
        "Fetch the file that it points to: git lfs pull.",
    ),
    _kind(
        HTML,
        rb"(?i)\s*<(!doctype|html|head)",
        "The download went wrong: fetch the file itself.",
    ),
    _kind("XML", rb"\s*<\?xml", "The download went wrong: fetch the file itself."),
    _kind("safetensors", rb".{4}\0\0\0\0\{", _renamed("safetensors"), "safetensors"),
    _kind("an HDF5 file", rb"\x89HDF\r\n\x1a\n", _renamed("hdf5"), "hdf5"),
    _kind(
        "the zip form of PyTorch (1.6 and later)",
        rb"PK\x03\x04.{26}[\w.-]{0,200}/(data\.pkl|version|byteorder)",
        _renamed("torch"),
        "torch",
    ),
    _kind("a zip archive", rb"PK\x03\x04", "Unpack it, or fetch the weights themselves."),
    _kind(
        "the form of PyTorch before 1.6",
        rb"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
        _renamed("torch legacy"),
        "torch legacy",
    ),
    _kind("a pickle", rb"\x80[\x02-\x05]", "Save the weights with torch.save."),
    _kind("a GGUF file", rb"GGUF", "ckptconv does not read it; fetch the original weights."),
    _kind("a numpy array", rb"\x93NUMPY", "ckptconv does not read it."),
    _kind("a gzip archive", rb"\x1f\x8b", "Unpack it first."),
    _kind("a zstd archive", rb"\x28\xb5\x2f\xfd", "Unpack it first."),
    _kind("a tar file", rb".{257}ustar", "Unpack it first."),
    _kind("JSON", rb"\s*\{\s*[\"}]", "It holds no weights: fetch the file itself."),
)


def kind_of(start: bytes) -> FileKind | None:
    """Return what a file is that begins so; None: nothing that is known."""
    return next((kind for kind in KINDS if kind.pattern.match(start)), None)


def wrong_file(path: Path, expected: str, start: bytes, form: str = "") -> SourceError | None:
    """Return the error for a file that is plainly something else than its name says; None where nothing tells.

    Args: expected: what it should be. start: its first `START_BYTES` or fewer. form: the format that asks.
    """
    if not start:
        return SourceError(f"{path}: expected {expected}, found an empty file.\n{FETCH}")
    kind = kind_of(start)
    if kind is None or kind.form == form != "":
        return None
    return SourceError(f"{path}: expected {expected}, found {kind.name}.\n{kind.advice}")
