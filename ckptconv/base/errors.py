"""Every way in which a command can fail, and the exit code that says so.

CkptconvError
├── UsageError         2   an argument of a function in Python is none that it takes
├── SourceError        3   the source is refused: malformed, unsafe, incomplete, unknown
│   └── PlanError      3   tensors and tables disagree; carries every problem at once
├── DestinationError   4   the destination exists, is full, cannot be written; nothing was published
├── FrameworkError     5   this environment lacks a framework, or a framework died
├── InternalError     70   a fault of ckptconv itself, or a system without memory, threads or files to spare
└── Interrupted  130, 143  SIGINT, SIGTERM; nothing was published

A mismatch (verify, diff, check) is a result with exit code 1, not an exception. 2 is also Click's own, for options.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from ckptconv.base.untrusted import one_line


class CkptconvError(Exception):
    """Base of all errors that are shown to a user as a message, never as a traceback."""

    exit_code: ClassVar[int] = 70


class UsageError(CkptconvError, ValueError):
    """An argument is none that the function takes; nothing was read or written. A ValueError as well."""

    exit_code = 2


class SourceError(CkptconvError):
    """The source cannot be used as it is; nothing was written."""

    exit_code = 3


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One disagreement between a checkpoint and the tables."""

    kind: Literal[
        "missing", "unexpected", "shape", "dtype", "duplicate", "not equal", "cannot hold", "values"
    ]
    name: str
    """Tensor name as the checkpoint spells it."""
    detail: str = ""
    """Expected and found, in words."""

    def __str__(self) -> str:
        return one_line(
            f"{self.kind:<11} {self.name}" + (f": {self.detail}" if self.detail else "")
        )


class PlanError(SourceError):
    """The checkpoint's tensors and the tables disagree; all problems are listed together."""

    def __init__(self, what: str, problems: Iterable[Problem], hint: str = "") -> None:
        self.what = what
        self.problems = tuple(sorted(problems))
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [f"{self.what}: {count} problem{'s' if count != 1 else ''}"]
        lines += [f"  {problem}" for problem in self.problems]
        return "\n".join([*lines, self.hint] if self.hint else lines)


class DestinationError(CkptconvError):
    """The destination cannot be written; nothing was published."""

    exit_code = 4


class FrameworkError(CkptconvError):
    """A framework is missing here, or its process died before it answered."""

    exit_code = 5


class InternalError(CkptconvError):
    """An exception that nobody foresaw; it says nothing about the checkpoints."""


class Interrupted(CkptconvError):
    """A signal asked the run to stop; nothing was published, unless the message names what was."""

    def __init__(self, signal_number: int, published: str | None = None) -> None:
        self.signal_number = signal_number
        super().__init__(
            f"interrupted, but {published} is published and whole"
            if published
            else "interrupted: nothing was written"
        )
