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


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Return a short paragraph for each component, and the machine on the last line."""
    lines = [f"ckptconv {diagnosis.version}, Python {diagnosis.python}", ""]
    for component in diagnosis.components:
        lines += _component(component)
    memory = size(diagnosis.memory_bytes)
    disk = ", ".join(
        dict.fromkeys(f"{size(free)} free in {path}" for path, free in diagnosis.free_bytes)
    )
    cores = f"{diagnosis.cores} core{'s' if diagnosis.cores > 1 else ''}"
    return printable("\n".join([*lines, "", f"machine  {cores}, {memory} of memory, disk: {disk}"]))


def _component(component: Component) -> Iterator[str]:
    yield f"{component.name:<8} {component.state:<9} {component.purpose}"
    space = " " * 19
    if present := [f"{name} {version}" for name, version in component.versions if version]:
        yield fill(
            ", ".join(present),
            COLUMNS,
            initial_indent=space,
            subsequent_indent=space,
            break_on_hyphens=False,
        )
    if component.reason:
        yield fill(component.reason, COLUMNS, initial_indent=space, subsequent_indent=space)
    if component.remedy:
        yield f"{space}install it with: {component.remedy}"


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Json]:
    """Return a diagnosis for --json."""
    return {
        "works": diagnosis.works,
        "ckptconv": diagnosis.version,
        "python": diagnosis.python,
        "components": [
            {
                "name": component.name,
                "state": component.state,
                "purpose": component.purpose,
                "versions": dict(component.versions),
                "reason": component.reason,
                "remedy": component.remedy,
                "seconds": round(component.seconds, 3),
            }
            for component in diagnosis.components
        ],
        "cores": diagnosis.cores,
        "memory_bytes": diagnosis.memory_bytes,
        "free_bytes": {str(path): free for path, free in diagnosis.free_bytes},
    }
