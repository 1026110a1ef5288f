"""Every way in which a command can fail, the exit code that says so, and text from strangers made safe for messages.

CkptconvError
├── UsageError         2   an argument of a function in Python is none that it takes
├── SourceError        3   the source is refused: malformed, unsafe, incomplete, unknown
│   └── PlanError      3   tensors and tables disagree; carries every problem at once
├── DestinationError   4   the destination exists, is full, cannot be written; nothing was published
├── FrameworkError     5   this environment lacks a framework, or a framework died
├── InternalError     70   a fault of ckptconv itself, or a system without memory, threads or files to spare
└── Interrupted  130, 143  SIGINT, SIGTERM; nothing was published

A mismatch (verify, diff, check) is a result with exit code 1, not an exception. 2 is also Click's own, for options;
`require_choice` and its kin check the arguments of the functions in Python as strictly.

A name from a file may hold what a terminal takes for a command, what turns the reading direction round, what nobody
sees, a line break that forges a line of ours, or the end of a tag. A log has readers as well: GitHub's runner takes
a line that begins with `::` for a command, and `##[...]` anywhere in a line; Azure's takes `##vso[...]`.
JSON needs none of this but the last: it is written in ASCII, in one string a line.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

UNSEEN = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
"""Letters and marks that take no room, though `str.isprintable` calls them printable.

Source: DerivedCoreProperties.txt of Unicode 15, Default_Ignorable_Code_Point, less the categories Cf and Cn.
"""
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~#&"})


LINE_COMMAND = re.compile(r"^( *):(?=:)", re.MULTILINE)
"""The beginning of a line that GitHub's runner takes for a command; it takes off spaces before."""
LOG_COMMAND = re.compile(r"#(?=#[A-Za-z]*\[)")
"""What begins a command anywhere in a line, in GitHub's older form and in Azure's."""


def printable(text: str) -> str:
    """Return text with everything escaped that a terminal or a log could take for a command; lines stay lines."""
    unsafe = {ord(c): ascii(c)[1:-1] for c in set(text) if c != "\n" and not _harmless(c)}
    shown = text.translate(unsafe) if unsafe else text
    return LINE_COMMAND.sub(r"\1\\x3a", LOG_COMMAND.sub(r"\\x23", shown))


def one_line(text: str) -> str:
    """Return a name, or another text of one line, so that it cannot begin a line of its own."""
    return printable(text.replace("\n", "\\n"))


def names_in_one_line(text: str, paths: Iterable[str]) -> str:
    """Return a text of several lines in which no part of these paths holds a line break.

    Messages quote paths as they are; where the paths are known, their breaks can still be told from those of ours.
    """
    names = {name for path in paths for name in path.split("/") if "\n" in name}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, name.replace("\n", "\\n"))
    return text


def markdown(text: str) -> str:
    """Return a name for a cell of a Markdown table: no tag, no link, no end of the cell."""
    return one_line(text).translate(MARKDOWN)


def _harmless(character: str) -> bool:
    return character.isprintable() and character not in UNSEEN


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

    def __init__(
        self, signal_number: int, published: str | None = None, otherwise: str = ""
    ) -> None:
        """Take what is published and whole, if anything is; otherwise what is true in place of that."""
        self.signal_number = signal_number
        rest = f": {otherwise}" if otherwise else ""
        super().__init__(
            f"interrupted, but {published} is published and whole"
            if published
            else f"interrupted{rest}"
        )


def system_reason(error: OSError) -> str:
    """Return what the system says of a failure; of an error that a library raised without, its own words."""
    return error.strerror or str(error) or type(error).__name__


MAX_SEED = 2**63 - 1
"""What numpy and every framework take as a seed."""
LARGEST = sys.float_info.max
"""What a float can hold; an integer can be more."""


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse what is none of the choices: a misspelt word has no other meaning. Raises UsageError."""
    names = tuple(choices)
    if not isinstance(value, str) or value not in names:
        raise UsageError(f"{name}: {_shown(value)} is not one of {', '.join(map(repr, names))}")


def is_blank(value: object) -> bool:
    """Tell whether a value is a text in which nothing is written: most often, a variable that was never set."""
    return isinstance(value, str) and not value.strip()


def require_path(value: object) -> None:
    """Refuse a blank text for a path: Python takes it for the working directory. Raises UsageError."""
    if is_blank(value):
        raise UsageError(f"an empty path: {_shown(value)}; the working directory is '.'")


def require_texts(name: str, value: object) -> None:
    """Refuse one string where several are expected: it would be taken letter by letter; and a blank one.

    Raises: UsageError.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{name}: {_shown(value)} is not a list of strings")
    if any(map(is_blank, value)):
        raise UsageError(f"{name}: {_shown(value)} is not all text: there is an empty one")


def require_integer(name: str, value: object, least: int = 0, most: int | None = None) -> None:
    """Refuse what is no integer from `least` to `most`. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name}: {_shown(value)} is not an integer")
    if value < least:
        raise UsageError(f"{name}: {_shown(value)} is not at least {least}")
    if most is not None and value > most:
        raise UsageError(f"{name}: {_shown(value)} is not at most {most}")


def require_number(name: str, value: object, least: float = 0.0, most: float = LARGEST) -> None:
    """Refuse what is no finite number from `least` to `most`. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name}: {_shown(value)} is not a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name}: {_shown(value)} is not a number")
    if value < least and most == LARGEST:
        raise UsageError(f"{name}: {_shown(value)} is not at least {least:g}")
    if not least <= value <= most:
        raise UsageError(f"{name}: {_shown(value)} is not from {least:g} to {most:g}")


def in_python(value: object) -> str:
    """Return a value as Python shows it, in ASCII; of an integer too long for Python to write, that it is one."""
    try:
        return ascii(value)
    except ValueError:
        return "an integer of thousands of digits"


def _shown(value: object) -> str:
    return in_python(value)[:80]
