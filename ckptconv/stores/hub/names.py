"""What a model is called on the hub: `org/name`, `org/name@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII
)


FORMER_NAMES = {
    "albert-": "albert",
    "bert-": "google-bert",
    "camembert-": "almanach",
    "ctrl": "Salesforce",
    "distil": "distilbert",
    "gpt2": "openai-community",
    "openai-gpt": "openai-community",
    "roberta-": "FacebookAI",
    "t5-": "google-t5",
    "xlm-": "FacebookAI",
    "xlnet-": "xlnet",
}
"""How names of one part begin that the hub once had, and the organisation that has the model now."""


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


def full_name(word: str) -> str:
    """Return the name of today of a model that the hub once had under one word, such as `gpt2`; or nothing."""
    organisation = next(
        (owner for start, owner in FORMER_NAMES.items() if word.startswith(start)), ""
    )
    return f"{organisation}/{word}" if organisation else ""
