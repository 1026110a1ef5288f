"""The folder is the registry: a new file in `schema/families/` or `stores/formats/` is all it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Registry(Mapping[K, V]):
    """What the modules of a package define, by name; the modules are imported when it is first asked.

    Only ckptconv's own packages are ever named here; nothing from a checkpoint reaches an import.
    """

    def __init__(self, package: str, constant: str, key: str | None = "name") -> None:
        """Name the package below ckptconv, and what each of its modules defines.

        Args:
            package: its modules whose names begin with an underscore are helpers of the others.
            constant: one entry, or a tuple of entries.
            key: attribute of an entry that names it; None: the module's name does.
        """
        self._package, self._constant, self._key = f"ckptconv.{package}", constant, key

    @cached_property
    def _entries(self) -> dict[Any, V]:
        modules = iter_modules(import_module(self._package).__path__)
        names = sorted(module.name for module in modules if not module.name.startswith("_"))
        entries: dict[Any, V] = {}
        for name in names:
            constant = getattr(import_module(f"{self._package}.{name}"), self._constant)
            if self._key is None:
                entries[name] = constant
                continue
            for entry in constant if isinstance(constant, tuple) else (constant,):
                entries[getattr(entry, self._key)] = entry
        return entries

    def __getitem__(self, name: K) -> V:
        return self._entries[name]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
