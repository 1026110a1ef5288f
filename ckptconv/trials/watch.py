"""What code does beside reading its input: Python's audit events, between two points of a run.

A hostile file would show here: an import, code that is compiled or executed, a process, a socket, or a
file outside the input. Audit hooks see all of them, whichever function they come from.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from types import TracebackType

from ckptconv.base.workers import QUOTA

FORBIDDEN = (
    "import",
    "compile",
    "exec",
    "marshal.",
    "pickle.",
    "code.",
    "function.",
    "ctypes.",
    "cpython.run_",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "pty.",
    "signal.pthread_kill",
    "socket.",
    "urllib.",
    "http.",
    "ftplib.",
    "smtplib.",
    "webbrowser.",
    "sqlite3.",
)
"""How the names of events begin that no reader causes, once all that it needs is imported."""

PATHS = (
    "open",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.setxattr",
    "shutil.",
    "tempfile.",
)
"""How the names of events begin that a reader may cause, but only inside its folders."""

_LISTENING: list[Watch] = []


class Watch:
    """Collects what happens inside `with`, in any thread; one at a time."""

    def __init__(self, *folders: Path, children: bool = False) -> None:
        """`folders`: where files may be opened and changed. `children`: Python may be started, as for HDF5."""
        self._roots = tuple(os.path.realpath(folder) for folder in folders)
        self._children = children
        self.events: list[str] = []
        """What should not have happened: event and first argument, as ASCII."""

    def __enter__(self) -> Watch:
        _listen()
        _LISTENING.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        _LISTENING.remove(self)

    def see(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take note of one audit event, if it is none that a reader may cause."""
        if event.startswith(PATHS):
            wrong = not self._is_inside(arguments[0])
        else:
            wrong = event.startswith(FORBIDDEN) and not (
                self._children and _starts_python(event, arguments)
            )
        if wrong:
            self.events.append(f"{event} {ascii(arguments[0] if arguments else None)[:200]}")

    def _is_inside(self, path: object) -> bool:
        if not isinstance(path, str | bytes):
            return True  # a file descriptor: it was opened before
        text = os.fsdecode(path)
        # a plain name is opened below a dir_fd, and what the system says of its cores is no file
        if text in (os.devnull, str(QUOTA), os.path.basename(text)):  # noqa: PTH119
            return True
        real = os.path.realpath(text)
        return any(real == root or real.startswith(root + os.sep) for root in self._roots)


def _starts_python(event: str, arguments: tuple[object, ...]) -> bool:
    command = arguments[1] if event == "subprocess.Popen" else None
    return isinstance(command, list | tuple) and command[0] == sys.executable


@cache
def _listen() -> None:
    """Set the hook, once: Python never takes one off again."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        for watch in _LISTENING:
            watch.see(event, arguments)

    sys.addaudithook(hook)
