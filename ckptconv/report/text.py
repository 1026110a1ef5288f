"""What every rendering shares: sizes, tables, JSON, errors, and text made safe for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ckptconv.base.errors import CkptconvError, Interrupted, PlanError, Problem
from ckptconv.base.untrusted import one_line as one_line
from ckptconv.base.untrusted import printable as printable

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json

MAX_PROBLEMS = 40
"""Problems shown as text; --json has them all."""


def size(nbytes: float) -> str:
    """Return a size in decimal units, as disks are sold and transformers cuts shards: `989.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    raise AssertionError


def table(
    rows: Sequence[Sequence[object]], headers: Sequence[str], align: Sequence[str] = ()
) -> str:
    """Return a plain table; `align` names left or right for each column."""
    from tabulate import tabulate

    safe = [
        [one_line(str(cell)) for cell in row] for row in rows
    ]  # a line break in a name would forge a row
    text: str = tabulate(
        safe, headers=headers, tablefmt="simple", disable_numparse=True, colalign=align or None
    )
    return text


def dump(value: Mapping[str, Json]) -> str:
    """Return JSON in pure ASCII, so that no name from a checkpoint can steer a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=True)


def error_text(error: CkptconvError) -> str:
    """Return a message for stderr: what, where, expected, found, next step."""
    text = str(error)
    if isinstance(error, PlanError) and len(error.problems) > MAX_PROBLEMS:
        abridged = PlanError(error.what, error.problems[:MAX_PROBLEMS])
        rest = f"  ... and {len(error.problems) - MAX_PROBLEMS} more (--json lists them all)"
        first = f"{error.what}: {len(error.problems)} problems"
        text = "\n".join(
            [first, *str(abridged).splitlines()[1:], rest, *([error.hint] if error.hint else [])]
        )
    return f"Error: {printable(text)}"


def error_json(error: CkptconvError, exit_code: int) -> dict[str, Json]:
    """Return an error for --json."""
    problems = error.problems if isinstance(error, PlanError) else ()
    kind = "Interrupted" if isinstance(error, Interrupted) else type(error).__name__
    return {
        "error": kind,
        "message": str(error),
        "exit_code": exit_code,
        "problems": problems_json(problems),
    }


def problems_json(problems: Sequence[Problem]) -> list[Json]:
    """Return problems as objects."""
    return [
        {"kind": problem.kind, "name": problem.name, "detail": problem.detail}
        for problem in problems
    ]
