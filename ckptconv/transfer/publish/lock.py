"""One run at a time writes a target: the kernel's lock on a file beside it, which ends with the process.

    .NAME.ckptconv-lock         held while NAME is written; holds the writer's process id
    .NAME.ckptconv-1a2b3c4d     a stage: what is written so far, or what was replaced and goes away
    .NAME.ckptconv-...-old      what is replaced, where the system cannot exchange two directories in one step

Who holds the lock knows that nobody else works on these, so what a killed run left can be removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptconv.base.errors import DestinationError
from ckptconv.base.interrupts import held

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system answers that has no locks."""
MARK = "ckptconv"
OLD = "-old"


def new_stage(target: Path) -> Path:
    """Return a hidden name beside `target` that nobody uses."""
    return target.with_name(f".{target.name}.{MARK}-{secrets.token_hex(4)}")


@contextmanager
def locked(target: Path) -> Iterator[bool]:
    """Hold the lock of a target, in a parent directory that exists or is made.

    Gives: whether there is a lock. Without one the last rename still lets one run win, but what a killed run
    left cannot be told from what another is writing.
    Raises: DestinationError: another run holds it. OSError: the parent cannot be written.
    """
    path, fd = target.with_name(f".{target.name}.{MARK}-lock"), -1
    try:
        with held():
            fd, exclusive = _acquire(path, target)
        yield exclusive
    finally:
        if fd >= 0:
            with held(), suppress(OSError):
                path.unlink()  # while it is held: nobody can hold another file of this name
                os.close(fd)


def _acquire(path: Path, target: Path) -> tuple[int, bool]:
    """Return the open lock file, and whether this file system locks it."""
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _holder(fd)
            os.close(fd)
            raise DestinationError(
                f"{target}: {who} is writing it; it was left as it is."
            ) from None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return fd, False
            os.close(fd)
            raise
        if _is_still(fd, path):
            with suppress(OSError):  # the number is for a message only
                os.ftruncate(fd, 0)
                os.pwrite(fd, str(os.getpid()).encode(), 0)
            return fd, True
        os.close(fd)  # its holder removed it after it was opened here


def _holder(fd: int) -> str:
    """Say who holds a lock: it writes its number just after it has taken it."""
    for _ in range(20):
        if (number := os.pread(fd, 20, 0)).isdigit():
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


def clear(target: Path) -> None:
    """Remove what killed runs left beside `target`, whose lock is held; an old target that was on its way comes back.

    Raises: OSError: the old target cannot be put back.
    """
    stages = re.compile(re.escape(f".{target.name}.{MARK}-") + f"[0-9a-f]{{8}}({OLD})?")
    for left in sorted(path for path in target.parent.iterdir() if stages.fullmatch(path.name)):
        if left.name.endswith(OLD) and not os.path.lexists(target):
            os.rename(left, target)
        else:
            shutil.rmtree(left, ignore_errors=True)
