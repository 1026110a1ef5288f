"""What `check` found."""

from __future__ import annotations

from ckptconv.base.strict_json import Json
from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, closing, counted, one_line, prose, size
from ckptconv.transfer.manifest import MANIFEST
from ckptconv.verbs.check import Checked


def check_text(result: Checked, screen: Screen = PIPE) -> str:
    """Return every finding and, on the last line, the verdict."""
    if result.whole:
        origin = result.manifest.origin
        counts = {"file": len(result.manifest.files), "tensor": result.tensors}
        named = [counted(count, noun) for noun, count in counts.items() if count]
        extent = ", ".join([*named, size(result.nbytes)])
        written = f"every byte is as ckptconv {origin.version} ({origin.command}) wrote it"
        return closing(f"WHOLE: {result.path}: {extent}; {written}", screen)
    lines = [
        one_line(
            f"{finding.kind:<11} {finding.name}" + (f": {finding.detail}" if finding.detail else "")
        )
        for finding in result.findings
    ]
    verdict = (
        f"CHANGED: {result.path}: {counted(len(lines), 'change')} since {MANIFEST} was written"
    )
    return "\n".join([*(prose(line, screen) for line in lines), closing(verdict, screen)])


def check_json(result: Checked) -> dict[str, Json]:
    """Return a check for --json."""
    origin = result.manifest.origin
    body: dict[str, Json] = {
        "path": str(result.path),
        "verdict": "whole" if result.whole else "changed",
        "manifest": result.manifest.digest,
        "ckptconv": origin.version,
        "command": origin.command,
        "files": len(result.manifest.files),
        "tensors": result.tensors,
        "bytes": result.nbytes,
        "notices": list(result.notices),
        "findings": [
            {"kind": finding.kind, "name": finding.name, "detail": finding.detail}
            for finding in result.findings
        ],
    }
    return stamped("check", body)
