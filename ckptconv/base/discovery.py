"""The folder is the registry: a new file in `architectures/`, `namings/` or `formats/` is all it takes."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


@cache
def discover(package: str, constant: str) -> dict[str, Any]:
    """Return module name -> its constant, for every module of a package without a leading underscore.

    Only ckptconv's own packages are ever named here; nothing from a checkpoint reaches an import.
    """
    folder = import_module(f"ckptconv.{package}").__path__
    names = sorted(
        module.name for module in iter_modules(folder) if not module.name.startswith("_")
    )
    return {name: getattr(import_module(f"ckptconv.{package}.{name}"), constant) for name in names}
