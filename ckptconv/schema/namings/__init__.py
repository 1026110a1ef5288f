"""One file = one framework's spelling of every kind of module, as data."""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.base.discovery import discover
from ckptconv.schema.tensors import Naming
from ckptconv.schema.vocabulary import NamingName


def namings() -> Mapping[NamingName, Naming]:
    """Return every naming, by name."""
    return {naming.name: naming for naming in discover("schema.namings", "NAMING").values()}
