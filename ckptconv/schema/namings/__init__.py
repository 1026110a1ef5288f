"""One file = one framework's spelling of every kind of module, as data."""

from __future__ import annotations

from ckptconv.base.discovery import Registry
from ckptconv.schema.tensors import Naming, NamingName

NAMINGS: Registry[NamingName, Naming] = Registry("schema.namings", "NAMING")
"""Every naming, by name."""
