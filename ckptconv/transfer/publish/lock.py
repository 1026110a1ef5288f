"""One run at a time writes a target, and takes away what a killed run left there, or what `--overwrite` may replace.

The kernel's lock on a file beside the target ends with the process. The lock file holds the writer's process id and, a
line each, the random part of the names of the stages that it made. Who takes the lock over from a killed run knows by
these what that run left; a directory that merely has such a name, and was planted there, is not on the list.

Directories that ckptconv made are removed, and nothing beyond: no link is followed, no mount point entered. What may be
replaced is told from the directory's manifest and from a listing: a directory that ckptconv wrote, and that holds
nothing else. A file is hashed only where it is younger than the manifest, as after a copy, or after a training run that
saved into an output of ours: those weights have the names that the manifest gives, and are not what ckptconv wrote.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ckptconv.base.errors import DestinationError, SourceError, one_line, system_reason
from ckptconv.base.leftovers import (
    OLD,
    TOKEN,
    Leftover,
    is_directory,
    leftovers,
    lock_path,
    stage_path,
    stage_token,
)
from ckptconv.base.mounts import is_mount_point, mount_points
from ckptconv.base.presence import status_of
from ckptconv.base.strict_json import Json, read_json
from ckptconv.base.workers import signals_blocked
from ckptconv.transfer.manifest import MANIFEST, MANIFEST_TIMES, NAME, SUMS, file_digest

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL)
"""No such call in this kernel; no such flag in this file system."""


def place(stage: Path, target: Path) -> None:
    """Rename `stage` to `target`, which must not be there. Raises OSError."""
    if not renameat2(stage, target, RENAME_NOREPLACE):
        os.rename(stage, target)  # onto a directory with content this fails, which is as good


def exchange(stage: Path, target: Path) -> Path:
    """Put `stage` in the place of `target`; return where the old one lies now.

    Raises: OSError: the old one is where it was.
    """
    if renameat2(stage, target, RENAME_EXCHANGE):
        return stage
    # Two steps. Whoever kills the run between them finds both beside the target, whole: see leftovers.py.
    aside = stage.with_name(stage.name + OLD)
    os.rename(target, aside)
    try:
        os.rename(stage, target)
    except OSError:
        os.rename(aside, target)
        raise
    return aside


def renameat2(source: Path, target: Path, flags: int) -> bool:
    """Rename with flags; return False where the system cannot. Raises OSError."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if call(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code))


MAX_DEPTH = 32
"""An output is at most ten directories deep; what is deeper is none of ours."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Removal:
    """One removal under way."""

    device: int
    mounts: frozenset[bytes]
    real: str
    """The directory's path without links, as the list of mount points has it."""
    only: Collection[str] | None
    left: list[str]
    """What stays, as a message names it."""


def remove_directory(folder: Path, only: Collection[str] | None = None) -> list[str]:
    """Remove a directory; return what could not or must not be removed, each with the reason.

    The manifest goes last, so that a removal that is cut short leaves a directory that is known as ours.

    Args:
        folder: the directory; where it is missing or a link there is nothing to do.
        only: paths of files below it that may go, with slashes; None for all.
    """
    try:
        fd = os.open(folder, FOLDER)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{folder} ({system_reason(error)})"]
    left: list[str] = []
    try:
        real = os.path.realpath(folder)
        device = folder.parent.stat().st_dev
        if os.fstat(fd).st_dev != device:
            return [f"{folder} (a mount point)"]
        _empty(fd, "", _Removal(device, mount_points(), real, only, left), 0)
        if not left:
            folder.rmdir()
    except OSError as error:
        left.append(f"{folder} ({system_reason(error)})")
    finally:
        os.close(fd)
    return left


def _empty(fd: int, above: str, removal: _Removal, depth: int) -> None:
    """Remove what an open directory holds. Raises OSError: it cannot be listed."""
    names = sorted(os.listdir(fd))  # of a descriptor
    if not above and MANIFEST in names:
        names.remove(MANIFEST)
        names.append(MANIFEST)
    for own in names:
        name = f"{above}/{own}" if above else own
        if own == MANIFEST and not above and removal.left:
            removal.left.append(name)
            return
        try:
            why = _removed(fd, own, name, removal, depth)
        except OSError as error:
            why = system_reason(error)
        if why is not None:
            removal.left.append(one_line(name) + (f" ({why})" if why else ""))


def _removed(fd: int, own: str, name: str, removal: _Removal, depth: int) -> str | None:
    """Remove one entry of a directory; return why it stays, or None. Raises OSError."""
    status = os.stat(own, dir_fd=fd, follow_symlinks=False)
    if status.st_dev != removal.device or os.fsencode(f"{removal.real}/{name}") in removal.mounts:
        return "a mount point"
    if not stat.S_ISDIR(status.st_mode):
        if removal.only is not None and name not in removal.only:
            return ""
        os.unlink(own, dir_fd=fd)
        return None
    if depth == MAX_DEPTH:
        return "too deep"
    before = len(removal.left)
    below = os.open(own, FOLDER, dir_fd=fd)
    try:
        _empty(below, name, removal, depth + 1)
    finally:
        os.close(below)
    if len(removal.left) == before:
        os.rmdir(own, dir_fd=fd)
    return None


MAX_SHOWN = 5
"""Foreign entries that a refusal names."""
KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a directory"}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a directory holds, by whether its manifest answers for it."""

    ours: frozenset[str]
    """Paths of files below the directory that ckptconv wrote; with slashes."""
    foreign: tuple[str, ...]
    """Everything else, as a message names it: `thesis.tex`, `.git/`, `vocab.txt (changed since)`."""
    why: str
    """What is wrong with the manifest itself; empty where it is one."""

    @property
    def replaceable(self) -> bool:
        """True where nothing but what ckptconv wrote would be lost."""
        return not self.foreign


@dataclass(frozen=True, slots=True)
class _Named:
    """One file, as the manifest describes it."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Manifest:
    files: Mapping[str, _Named]
    written_ns: int
    """When the manifest was written: it is the last file but the sums."""
    sums: bytes
    """What the file of sums must be."""

    @property
    def folders(self) -> frozenset[str]:
        """The directories that hold the files."""
        return frozenset(
            parent.as_posix() for name in self.files for parent in Path(name).parents
        ) - {"."}


def require_replaceable(target: Path) -> None:
    """Refuse what `--overwrite` must not replace. Raises DestinationError, OSError."""
    mode = target.lstat().st_mode
    if not stat.S_ISDIR(mode):
        what = KINDS.get(stat.S_IFMT(mode), "not a directory")
        raise DestinationError(
            f"{target}: is {what}; --overwrite replaces only a directory that ckptconv wrote."
        )
    if is_mount_point(target, mount_points()):
        raise DestinationError(
            f"{target}: is a mount point, which cannot be replaced; give a directory below it."
        )
    contents = examine(target)
    if contents.replaceable:
        return
    shown = ", ".join(contents.foreign[:MAX_SHOWN])
    more = len(contents.foreign) - MAX_SHOWN
    listed = shown + (f" and {more} more" if more > 0 else "")
    if contents.why:
        reason = f"{contents.why}, so --overwrite leaves it alone"
        reason += f"; it holds {listed}." if listed else "."
    else:
        reason = f"holds what ckptconv did not write, so --overwrite leaves it alone: {listed}."
    raise DestinationError(
        f"{target}: {reason}\nMove that away or remove it yourself, or give another directory."
    )


def examine(folder: Path) -> Listing:
    """Divide what a directory holds into what ckptconv wrote and what it did not.

    An empty directory has neither. Nothing is followed: a link is foreign, and so is a mount point.

    Raises: OSError: the directory cannot be listed.
    """
    try:
        manifest = _manifest(folder)
    except SourceError as error:
        entries = sorted(os.listdir(folder))  # noqa: PTH208  # a name each is all that is needed
        return Listing(frozenset(), tuple(_shown(folder, name) for name in entries), str(error))
    ours: set[str] = set()
    foreign = sorted(_walk(folder, manifest, mount_points(), ours))
    return Listing(frozenset(ours), tuple(foreign), "")


def _walk(
    folder: Path, manifest: _Manifest, mounts: frozenset[bytes], ours: set[str]
) -> Iterator[str]:
    """Yield what is foreign, and add what is not to `ours`; foreign directories are not entered."""
    folders, todo = manifest.folders, [""]
    while todo:
        above = todo.pop()
        try:
            with os.scandir(folder / above) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            yield f"{one_line(above)}/ (cannot be listed: {system_reason(error)})"
            continue
        for own in names:
            name = f"{above}/{own}" if above else own
            why = _objection(folder / name, name, manifest, mounts)
            if why is None and name in folders:
                todo.append(name)
            elif why is None:
                ours.add(name)
            else:
                yield _shown(folder, name) + (f" ({why})" if why else "")


def _objection(path: Path, name: str, manifest: _Manifest, mounts: frozenset[bytes]) -> str | None:
    """Say why an entry is foreign, "" where its name says it all; None where it is ckptconv's."""
    try:
        status, mounted = path.lstat(), is_mount_point(path, mounts)
    except OSError as error:
        return system_reason(error)
    if mounted:
        return "a mount point"
    if name in manifest.folders:
        return (
            None
            if stat.S_ISDIR(status.st_mode)
            else KINDS.get(stat.S_IFMT(status.st_mode), "no directory")
        )
    named = manifest.files.get(name)
    if named is None and name not in (MANIFEST, SUMS):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return KINDS.get(stat.S_IFMT(status.st_mode), "not a file")
    if name == SUMS and named is None:
        return None if _holds(path, manifest.sums) else "changed since"
    return None if named is None or _unchanged(path, status, named, manifest) else "changed since"


def _unchanged(path: Path, status: os.stat_result, named: _Named, manifest: _Manifest) -> bool:
    """Tell whether a file is what the manifest says; its bytes are read only where it is younger."""
    if status.st_size != named.nbytes:
        return False
    if max(status.st_mtime_ns, status.st_ctime_ns) <= manifest.written_ns:
        return True
    try:
        return file_digest(path).sha256 == named.sha256
    except SourceError:
        return False


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _shown(folder: Path, name: str) -> str:
    path = folder / name
    is_folder = path.is_dir() and not path.is_symlink()
    return one_line(name) + ("/" if is_folder else "")


def _manifest(folder: Path) -> _Manifest:
    """Return what the manifest says of its files, whichever version of ckptconv wrote it.

    Raises: SourceError: there is none, or it is not one that ckptconv wrote; without the directory's name.
    """
    path = folder / MANIFEST
    try:
        status = path.lstat()
    except OSError:
        raise SourceError(f"has no {MANIFEST}") from None
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"has a {MANIFEST} that is no regular file")
    try:
        values = read_json(path, MANIFEST_TIMES)
    except SourceError:
        raise SourceError(f"has a {MANIFEST} that cannot be read") from None
    declared = values.pop("sha256", None)
    spelled = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    files = values.get("files")
    is_ours = type(values.get("manifest")) is int and isinstance(values.get("ckptconv"), str)
    if not is_ours or not isinstance(files, dict) or not all(map(_is_file, files.items())):
        raise SourceError(f"has a {MANIFEST} that ckptconv did not write")
    if declared != sha256(spelled).hexdigest():
        raise SourceError(f"has a {MANIFEST} that was edited")
    named = {name: _named(value) for name, value in files.items()}
    digests = {name: file.sha256 for name, file in named.items()}
    digests[MANIFEST] = file_digest(path).sha256
    sums = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()
    return _Manifest(named, status.st_mtime_ns, sums)


def _is_file(item: tuple[str, Json]) -> bool:
    """Tell whether an entry of the manifest names a file below the directory."""
    name, value = item
    return (
        NAME.fullmatch(name) is not None
        and isinstance(value, dict)
        and type(value.get("bytes")) is int
        and isinstance(value.get("sha256"), str)
    )


def _named(value: Json) -> _Named:
    assert isinstance(value, dict)
    nbytes, digest = value["bytes"], value["sha256"]
    assert isinstance(nbytes, int)
    assert isinstance(digest, str)
    return _Named(nbytes, digest)


NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system answers that has no locks."""
MAX_RECORD_BYTES = 1 << 16


@dataclass(slots=True)
class Lock:
    """A lock that is held, or what stands for one where the file system has none."""

    target: Path
    fd: int
    exclusive: bool
    """Without it the last rename still lets one run win, but what a killed run left cannot be told from
    what another is writing."""
    stages: list[str]
    """Names of the stages that the file records: of killed runs, and of this one."""

    def record(self, stage: Path) -> None:
        """Write down a stage before it is made, so that the next run knows it as ours."""
        self.stages.append(stage.name)
        self.write()

    def write(self) -> None:
        """Write the file anew. A disk that is full is no reason to fail: what is left is then named, not removed."""
        there = [name for name in self.stages if self._lies_there(name)] + self.stages[-1:]
        tokens = (stage_token(name) for name in dict.fromkeys(there))
        text = "\n".join([str(os.getpid()), *tokens, ""]).encode()
        with suppress(OSError):
            os.pwrite(self.fd, text, 0)
        with suppress(OSError):
            os.ftruncate(self.fd, len(text))

    def _lies_there(self, name: str) -> bool:
        """Tell whether a stage is there, or what it replaced; where nobody can tell, it stays recorded."""
        beside = self.target.with_name(name)
        try:
            return any(
                status_of(path, follow=False) for path in (beside, beside.with_name(name + OLD))
            )
        except OSError:
            return True

    @property
    def clean(self) -> bool:
        """True where nothing that the file records lies there any more."""
        return not any(map(self._lies_there, self.stages))


@contextmanager
def locked(target: Path) -> Iterator[Lock]:
    """Hold the lock of a target, in a parent directory that exists or is made.

    Raises: DestinationError: another run holds it. OSError: the parent cannot be written.
    """
    path = lock_path(target)
    lock: Lock | None = None
    try:
        with signals_blocked():
            lock = _acquire(path, target)
        yield lock
    finally:
        if lock is not None:
            with signals_blocked():
                if lock.clean:
                    with suppress(OSError):
                        path.unlink()  # while it is held: nobody can hold another file of this name
                os.close(lock.fd)


def _acquire(path: Path, target: Path) -> Lock:
    """Open and lock the file, and read what a killed run recorded in it."""
    while True:
        fd = _open(path)
        try:
            _require_lock_file(fd, path)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(fd)
            os.close(fd)
            raise DestinationError(
                f"{target}: {holder} is writing it; it was left as it is."
            ) from None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return Lock(target, fd, False, [])
            os.close(fd)
            raise
        except DestinationError:
            os.close(fd)
            raise
        if _is_still(fd, path):
            lock = Lock(target, fd, True, _recorded(fd, target))
            lock.write()
            return lock
        os.close(fd)  # its holder removed it after it was opened here


def _require_lock_file(fd: int, path: Path) -> None:
    """Refuse a file that is not a lock's: it will be written to. Raises DestinationError, OSError."""
    status = os.fstat(fd)
    text = os.pread(fd, MAX_RECORD_BYTES + 1, 0) if stat.S_ISREG(status.st_mode) else b"-"
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    is_ours = len(text) <= MAX_RECORD_BYTES and (not lines[0] or lines[0].isdigit())
    if not is_ours or status.st_nlink > 1:
        raise DestinationError(f"{path}: is in the way: it is no lock of ckptconv. Move it away.")


def _recorded(fd: int, target: Path) -> list[str]:
    """Return the names of the stages that a lock file records."""
    lines = os.pread(fd, MAX_RECORD_BYTES, 0).decode("ascii", "replace").split("\n")[1:]
    return [stage_path(target, line).name for line in lines if TOKEN.fullmatch(line)]


def _holder(fd: int) -> str:
    """Say who holds a lock: it writes its number just after it has taken it."""
    for _ in range(20):
        if (number := os.pread(fd, 20, 0).split(b"\n")[0]).isdigit():
            return f"another run (process {int(number)})"
        time.sleep(0.005)
    return "another run"


def _open(path: Path) -> int:
    """Open or make the lock file; a parent may go away between two steps, with the run that had made it."""
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _is_still(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def clear(lock: Lock) -> list[str]:
    """Remove what killed runs left beside a target whose lock is held; an old target gets its name back.

    Only directories that the lock file records, or that hold nothing but an output of ours, are touched.

    Returns: what was put back, and what was left alone: one sentence each.
    Raises: OSError: the old target cannot be put back.
    """
    remarks = []
    for leftover in leftovers(lock.target.parent, lock.target.name):
        if not _is_ours(leftover, lock):
            remarks.append(
                f"{leftover.path}: has the name of a stage, but ckptconv cannot tell that it made it;"
                " it was left alone"
            )
        elif leftover.is_old and status_of(lock.target, follow=False) is None:
            place(leftover.path, lock.target)
            remarks.append(
                f"{lock.target}: was put back, since a run was killed while it replaced it"
            )
        else:
            remarks += removal_remarks(leftover.path)
    return remarks


def _is_ours(leftover: Leftover, lock: Lock) -> bool:
    """Tell whether a killed run of ours left a directory, and not somebody who knows its name."""
    if not is_directory(leftover.path):
        return False
    if leftover.stage in lock.stages:
        return True
    with suppress(OSError):
        return examine(leftover.path).replaceable and leftover.path.lstat().st_uid == os.geteuid()
    return False


def removal_remarks(stage: Path) -> list[str]:
    """Remove a stage, or what lies in its place after an exchange; say what stays of it and why.

    Where it holds a manifest, it is or was an output, and only the files that ckptconv wrote go.
    """
    try:
        contents = examine(stage)
    except OSError:
        contents = None
    only = None
    if contents is not None and not contents.why:
        only = contents.ours | {SUMS}  # of a run that was stopped while it wrote them
    left = remove_directory(stage, only)
    if not left:
        return []
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return [f"{stage}: could not be removed whole; there stays {', '.join(left[:3])}{more}"]
