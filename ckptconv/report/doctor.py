"""What `doctor` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING

from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, counted, printable, prose, size

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.doctor import Component, Diagnosis

TIE = "\N{NO-BREAK SPACE}"
"""Between a name and its version, where no line breaks."""
INDENT = 19
"""Columns before the purpose of a component, and all below it."""


def diagnosis_text(diagnosis: Diagnosis, screen: Screen = PIPE) -> str:
    """Return a short paragraph for each component, and the machine on the last line."""
    lines = [f"ckptconv {diagnosis.version}, Python {diagnosis.python}", ""]
    for component in diagnosis.components:
        lines += _component(component, screen)
    memory = size(diagnosis.memory_bytes)
    disk = ", ".join(
        dict.fromkeys(f"{size(free)} free in {path}" for path, free in diagnosis.free_bytes)
    )
    machine = f"machine  {counted(diagnosis.cores, 'core')}, {memory} of memory, disk: {disk}"
    return printable("\n".join([*lines, "", prose(machine, screen)]))


def _component(component: Component, screen: Screen) -> Iterator[str]:
    head = f"{component.name:<8} {component.state:<9} {component.purpose}"
    yield prose(head, screen)
    packages = [f"{name}{TIE}{version}" for name, version in component.versions if version]
    details = [", ".join(packages), component.reason, *component.remedy.splitlines()]
    space = " " * INDENT
    for detail in filter(None, details):
        text = fill(
            detail,
            screen.columns,
            initial_indent=space,
            subsequent_indent=space,
            break_on_hyphens=False,
            break_long_words=False,
        )
        yield text.replace(TIE, " ")


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Json]:
    """Return a diagnosis for --json."""
    body: dict[str, Json] = {
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
    return stamped("diagnosis", body)
