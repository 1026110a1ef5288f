"""What `verify --save-trace` wrote, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, closing, printable, size

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.record import Recording


def recording_text(result: Recording, screen: Screen = PIPE) -> str:
    """Return one line, and the next step."""
    extent = f"{result.answers} answers and {result.tensors} digests"
    lines = (
        f"{result.pair}: {extent} -> {result.path}, {size(result.nbytes)}",
        f"Compare with it: ckptconv verify --trace {result.path} TARGET",
    )
    return "\n".join(closing(printable(line), screen) for line in lines)


def recording_json(result: Recording) -> dict[str, Json]:
    """Return a recording for --json."""
    body: dict[str, Json] = {
        "source": str(result.source),
        "trace": str(result.path),
        "pair": result.pair,
        "bytes": result.nbytes,
        "tensors": result.tensors,
        "answers": result.answers,
    }
    return stamped("recording", body)
