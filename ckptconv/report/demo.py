"""What `demo` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptconv.report.documents import stamped
from ckptconv.report.text import PIPE, Screen, counted, one_line, printable, prose, size

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.demo import Demo


def demo_text(result: Demo, screen: Screen = PIPE) -> str:
    """Return what was written, and what to try with it."""
    path = one_line(str(result.path))
    lines = (
        f"{path}: bert -> bert, trained to rewrite dates; {counted(len(result.files), 'file')}, {size(result.nbytes)}",
        "",
        "Try:",
        f"  ckptconv inspect {path}",
        f"  ckptconv pt2tf {path} {path}-tf",
        f"  ckptconv verify {path} {path}-tf --level weights",
    )
    return printable(prose("\n".join(lines), screen))


def demo_json(result: Demo) -> dict[str, Json]:
    """Return the same for --json."""
    body: dict[str, Json] = {
        "path": str(result.path),
        "files": list(result.files),
        "bytes": result.nbytes,
    }
    return stamped("demo", body)
