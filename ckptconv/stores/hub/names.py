"""What a model is called on the hub: `org/name`, `org/name@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class HubName:
    """One model on the hub, at one revision."""

    repo: str
    """`org/name`."""
    revision: str = "main"
    """Branch, tag or commit."""

    def __str__(self) -> str:
        return self.repo if self.revision == "main" else f"{self.repo}@{self.revision}"


def hub_name(source: Path | str) -> HubName | None:
    """Return what a text names on the hub if it has the form of such a name: `org/name`, `org/name@revision`."""
    match = NAME.fullmatch(str(source))
    return HubName(match["repo"], match["revision"] or "main") if match else None
