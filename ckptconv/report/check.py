"""What `check` found."""

from __future__ import annotations

from ckptconv.base.strict_json import Json
from ckptconv.report.text import one_line, size
from ckptconv.transfer.manifest import MANIFEST
from ckptconv.verbs.check import Checked


def check_text(result: Checked) -> str:
    """Return every finding and, on the last line, the verdict."""
    origin = result.manifest.origin
    if result.whole:
        extent = (
            f"{len(result.manifest.files)} files, {result.tensors} tensors, {size(result.nbytes)}"
        )
        return f"WHOLE: {result.path}: {extent}: every byte is as {origin.command} of ckptconv {origin.version} wrote it"
    lines = [
        one_line(
            f"{finding.kind:<11} {finding.name}" + (f": {finding.detail}" if finding.detail else "")
        )
        for finding in result.findings
    ]
    count = len(lines)
    return "\n".join(
        [
            *lines,
            f"CHANGED: {result.path}: {count} finding{'s' if count != 1 else ''} against {MANIFEST}",
        ]
    )


def check_json(result: Checked) -> dict[str, Json]:
    """Return a check for --json."""
    origin = result.manifest.origin
    return {
        "path": str(result.path),
        "verdict": "whole" if result.whole else "changed",
        "manifest": result.manifest.digest,
        "ckptconv": origin.version,
        "command": origin.command,
        "files": len(result.manifest.files),
        "tensors": result.tensors,
        "bytes": result.nbytes,
        "findings": [
            {"kind": finding.kind, "name": finding.name, "detail": finding.detail}
            for finding in result.findings
        ],
    }
