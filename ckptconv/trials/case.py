"""One malformed checkpoint, made by code, and what the refusal must say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MalformedCase:
    """A checkpoint that must be refused."""

    name: str
    """Unique over all formats, such as `zip-central-name-differs`."""
    threat: str
    """What would go wrong if it were read, in a few words."""
    build: Callable[[Path], None]
    """Writes the checkpoint into an empty directory: config.json, weights, whatever belongs to it."""
    says: str
    """A regular expression that the refusal must match: every case is refused for its own reason."""
