"""One file = one framework's spelling of every kind of module, as data."""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.discovery import discover
from ckptconv.rows import Dialect
from ckptconv.table import DialectName


def dialects() -> Mapping[DialectName, Dialect]:
    """Return every dialect, by name."""
    return {dialect.name: dialect for dialect in discover("dialects", "DIALECT").values()}
