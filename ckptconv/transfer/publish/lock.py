"""One run at a time writes a target: the kernel's lock on a file beside it, which ends with the process.

The lock file holds the writer's process id and, a line each, the random part of the names of the stages that it
made. Who takes the lock over from a killed run knows by these what that run left; a directory that merely has
such a name, and was planted there, is not on the list.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import DestinationError
from ckptconv.base.interrupts import signals_blocked
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
from ckptconv.transfer.manifest import SUMS
from ckptconv.transfer.publish.ownership import examine
from ckptconv.transfer.publish.removing import remove_directory
from ckptconv.transfer.publish.renaming import place

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
        beside = self.target.with_name(name)
        return any(map(os.path.lexists, (beside, beside.with_name(name + OLD))))

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
        elif leftover.is_old and not os.path.lexists(lock.target):
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
