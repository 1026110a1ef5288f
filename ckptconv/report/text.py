"""What every rendering shares: sizes, tables, wrapping, JSON, errors, and text made safe for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from textwrap import fill
from typing import TYPE_CHECKING

from ckptconv.base.errors import LOG_COMMAND, CkptconvError, Interrupted, PlanError, Problem
from ckptconv.base.errors import one_line as one_line
from ckptconv.base.errors import printable as printable
from ckptconv.report.stamp import stamped

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json

MAX_PROBLEMS = 40
"""Problems shown as text; --json has them all."""
MIN_NAME_COLUMNS = 32
"""Characters of a name that a narrow table shows at least."""
LABEL = re.compile(r" *\S+(?: \S+)* {2,}| *\w+(?: \w+)?: ")
"""What a wrapped line hangs from: a label and two spaces, or a word and a colon."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where text is shown."""

    columns: int = 100
    """Width to which sentences are wrapped."""
    table_columns: int | None = None
    """Width to which tables are cut; None in a pipe, where every name is whole, so that `grep` finds it."""


PIPE = Screen()
"""A pipe or a file."""


def size(nbytes: float) -> str:
    """Return a size in decimal units, as disks are sold and transformers cuts shards: `989.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    raise AssertionError


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 tensor`, `2,048 tensors`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def table(
    rows: Sequence[Sequence[object]],
    headers: Sequence[str],
    align: Sequence[str] = (),
    screen: Screen = PIPE,
    spare: Sequence[str] = (),
) -> str:
    """Return a plain table that fits a terminal.

    Args:
        rows: cells; what is not text is shown by `str`.
        headers: one for each column; a line break in it gives a header of two lines.
        align: `left` or `right` for each column.
        screen: where it is shown. In a pipe nothing is cut.
        spare: columns that a narrow terminal goes without, in this order, before names are shortened.
    """
    # A line break in a name would forge a row.
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    sides = list(align or ["left"] * len(headers))
    columns = list(range(len(headers)))
    if screen.table_columns:
        columns = _fitting(cells, headers, sides, screen.table_columns, spare)
    return _plain(
        [[row[column] for column in columns] for row in cells],
        [headers[column] for column in columns],
        [sides[column] for column in columns],
    )


MARGIN = 2
"""By so much tabulate makes a column wider than its header, at least."""


def _plain(rows: Sequence[Sequence[str]], headers: Sequence[str], align: Sequence[str]) -> str:
    from tabulate import tabulate

    text: str = tabulate(
        rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=align or None
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def _fitting(
    cells: list[list[str]],
    headers: Sequence[str],
    align: Sequence[str],
    columns: int,
    spare: Sequence[str],
) -> list[int]:
    """Shorten long cells in place; return the columns that a terminal shows."""
    heads = [max(map(len, header.split("\n"))) + MARGIN for header in headers]
    widths = [
        max([head, *(len(row[column]) for row in cells)]) for column, head in enumerate(heads)
    ]
    shown = list(range(len(headers)))

    def excess() -> int:
        return sum(widths[column] + 2 for column in shown) - 2 - columns

    for name in spare:
        if excess() > 0 and name in headers and widths[0] - excess() < MIN_NAME_COLUMNS:
            shown.remove(headers.index(name))
    while excess() > 0:
        widest = max(
            shown, key=lambda column: (align[column] == "left", widths[column]), default=None
        )
        if widest is None or widths[widest] <= max(MIN_NAME_COLUMNS, heads[widest]):
            break
        second = max((widths[column] for column in shown if column != widest), default=0)
        floor = max(MIN_NAME_COLUMNS, heads[widest], min(second, widths[widest] - 1))
        widths[widest] = max(floor, widths[widest] - excess())
    while excess() > 0 and len(shown) > 2:
        shown.pop()
    for row in cells:
        row[:] = [shortened(cell, width) for cell, width in zip(row, widths, strict=True)]
    return shown


def shortened(name: str, room: int) -> str:
    """Return a name with its middle left out where it is longer than `room` characters."""
    if len(name) <= room:
        return name
    head = (room - 3) // 3
    return f"{name[:head]}...{name[len(name) - (room - 3 - head) :]}"


def prose(text: str, screen: Screen = PIPE) -> str:
    """Return text whose lines fit: broken between words, never inside a name; what follows hangs from the label."""
    return "\n".join(_wrapped(line, screen.columns) for line in text.split("\n"))


def closing(line: str, screen: Screen = PIPE) -> str:
    """Return the last line of a result: wrapped on a terminal alone, so that a script finds it in one line."""
    return prose(line, screen) if screen.table_columns else line


def _wrapped(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    label = LABEL.match(line)
    indent = label.end() if label else columns
    if indent > columns // 3:  # no label, but two spaces somewhere in a sentence
        indent = len(line) - len(line.lstrip()) + 2
    return fill(
        line,
        columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def dump(value: Mapping[str, Json]) -> str:
    """Return JSON in pure ASCII, so that no name from a checkpoint can steer a terminal or the runner of a CI."""
    from ckptconv.base.strict_json import indented  # here, since every command imports this

    return LOG_COMMAND.sub(r"\\u0023", indented(value))


def finite(value: float) -> float | None:
    """Return a number as JSON has it; None for an infinity or NaN, which JSON has not."""
    return value if isfinite(value) else None


def error_text(error: CkptconvError, tame: Callable[[str], str] = str) -> str:
    """Return a message for stderr: what, where, expected, found, next step.

    Args:
        error: what happened.
        tame: what else is done to the text, before it is made printable.
    """
    text = str(error)
    if isinstance(error, PlanError) and len(error.problems) > MAX_PROBLEMS:
        abridged = PlanError(error.what, error.problems[:MAX_PROBLEMS])
        rest = f"  ... and {len(error.problems) - MAX_PROBLEMS} more (--json lists them all)"
        first = f"{error.what}: {len(error.problems)} problems"
        text = "\n".join(
            [first, *str(abridged).splitlines()[1:], rest, *([error.hint] if error.hint else [])]
        )
    return f"Error: {printable(tame(text))}"


def error_json(error: CkptconvError, exit_code: int) -> dict[str, Json]:
    """Return an error for --json."""
    problems = error.problems if isinstance(error, PlanError) else ()
    kind = "Interrupted" if isinstance(error, Interrupted) else type(error).__name__
    notices: list[Json] = list(getattr(error, "__notes__", ()))
    body: dict[str, Json] = {
        "error": kind,
        "message": str(error),
        "exit_code": exit_code,
        "problems": problems_json(problems),
        **({"notices": notices} if notices else {}),
    }
    return stamped("error", body)


def problems_json(problems: Sequence[Problem]) -> list[Json]:
    """Return problems as objects."""
    return [
        {"kind": problem.kind, "name": problem.name, "detail": problem.detail}
        for problem in problems
    ]
