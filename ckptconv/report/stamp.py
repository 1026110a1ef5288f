"""What every JSON document begins with; documents.py has the types of them all, which take a while to import."""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.base.strict_json import Json

VERSION = 1
"""Of the documents' keys."""


def stamped(name: str, body: Mapping[str, Json]) -> dict[str, Json]:
    """Return a document: its name and version, then its keys."""
    return {"schema": f"ckptconv.{name}", "schema_version": VERSION, **body}
