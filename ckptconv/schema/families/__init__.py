"""One file = one model family, as data; see docs/architecture.md for how to add one."""

from __future__ import annotations

from difflib import get_close_matches

from ckptconv.base.discovery import discover
from ckptconv.base.errors import SourceError
from ckptconv.schema.family import Family


def families() -> dict[str, Family]:
    """Return every family that has a table, by model type."""
    return {family.model_type: family for family in discover("schema.families", "FAMILY").values()}


def family_of(model_type: str, where: str) -> Family:
    """Return the family of a config's `model_type`.

    Raises: SourceError: there is no table; the message lists what there is.
    """
    tables = families()
    if model_type in tables:
        return tables[model_type]
    near = get_close_matches(model_type, tables, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise SourceError(
        f"{where}: no table for model type {model_type!a}.{guess}\nThere are tables for: {', '.join(sorted(tables))}."
    )
