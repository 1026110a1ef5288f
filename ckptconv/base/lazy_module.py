"""A module that is imported when something of it is asked for.

For annotations: `typing.get_type_hints` then finds a type whose module takes longer to import than a small run.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module, and imports it at the first look into it."""

    def __init__(self, name: str) -> None:
        """Take the dotted name."""
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copies an object asks for these before it has a name
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
