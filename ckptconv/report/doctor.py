"""What `doctor` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING

from ckptconv.report.text import printable, size

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.doctor import Component, Diagnosis

COLUMNS = 100


def diagnosis_text(found: Diagnosis) -> str:
    """Return a short paragraph for each component, and the machine on the last line."""
    lines = [f"ckptconv {found.version}, Python {found.python}", ""]
    for one in found.components:
        lines += _component(one)
    memory = size(found.memory_bytes)
    disk = ", ".join(
        dict.fromkeys(f"{size(free)} free in {path}" for path, free in found.free_bytes)
    )
    cores = f"{found.cores} core{'s' if found.cores > 1 else ''}"
    return printable("\n".join([*lines, "", f"machine  {cores}, {memory} of memory, disk: {disk}"]))


def _component(one: Component) -> Iterator[str]:
    yield f"{one.name:<8} {one.state:<9} {one.purpose}"
    space = " " * 19
    if there := [f"{name} {version}" for name, version in one.versions if version]:
        yield fill(
            ", ".join(there),
            COLUMNS,
            initial_indent=space,
            subsequent_indent=space,
            break_on_hyphens=False,
        )
    if one.reason:
        yield fill(one.reason, COLUMNS, initial_indent=space, subsequent_indent=space)
    if one.remedy:
        yield f"{space}install it with: {one.remedy}"


def diagnosis_json(found: Diagnosis) -> dict[str, Json]:
    """Return a diagnosis for --json."""
    return {
        "works": found.works,
        "ckptconv": found.version,
        "python": found.python,
        "components": [
            {
                "name": one.name,
                "state": one.state,
                "purpose": one.purpose,
                "versions": dict(one.versions),
                "reason": one.reason,
                "remedy": one.remedy,
                "seconds": round(one.seconds, 3),
            }
            for one in found.components
        ],
        "cores": found.cores,
        "memory_bytes": found.memory_bytes,
        "free_bytes": {str(path): free for path, free in found.free_bytes},
    }
