"""What `export` wrote."""

from __future__ import annotations

from ckptconv.artefacts.example import EXAMPLE
from ckptconv.base.strict_json import Json
from ckptconv.report.conversions import took
from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, closing, size
from ckptconv.verbs.export import Export


def export_json(result: Export) -> dict[str, Json]:
    """Return an export for --json."""
    body: dict[str, Json] = {
        "source": str(result.source),
        "target": str(result.target),
        "pair": result.pair,
        "format": result.format,
        "bytes": result.nbytes,
        "files": dict(result.files),
        "artefact": dict(result.record),
        "notices": list(result.notices),
    }
    return stamped("export", body)


def export_text(result: Export, seconds: float | None = None, screen: Screen = PIPE) -> str:
    """Return what was written, and what to do next."""
    ratio = result.nbytes / max(1, result.source_bytes)
    extent = f"{result.pair} -> {result.target}: {result.format}, {size(result.nbytes)} in all"
    lines = [
        closing(f"{extent}, {ratio:.2f} times the checkpoint's weights{took(seconds)}", screen)
    ]
    if EXAMPLE in result.files:
        lines.append(f'Try it:   python {result.target / EXAMPLE} "a text"')
    lines.append(f"Prove it: ckptconv verify {result.source} {result.target}")
    return "\n".join(lines)
