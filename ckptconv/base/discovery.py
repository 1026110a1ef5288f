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
    """What the modules of a package define, by name; each is imported when its entry is asked for, or all of them.

    Only ckptconv's own modules are ever imported here; a name from a checkpoint says no more than which comes first.
    """

    def __init__(self, package: str, constant: str, key: str | None = "name") -> None:
        """Name the package below ckptconv, and what each of its modules defines.

        Args:
            package: its modules whose names begin with an underscore are helpers of the others.
            constant: one entry, or a tuple of entries.
            key: attribute of an entry that names it; None: the module's name does.
        """
        self._package, self._constant, self._key = f"ckptconv.{package}", constant, key
        self._imported: dict[str, dict[Any, V]] = {}
        """Module -> its entries."""
        self._by_name: dict[Any, V] = {}
        """What was asked for before: a name is looked up for each tensor of a model."""

    @cached_property
    def _modules(self) -> tuple[str, ...]:
        modules = iter_modules(import_module(self._package).__path__)
        return tuple(sorted(module.name for module in modules if not module.name.startswith("_")))

    def _of(self, module: str) -> dict[Any, V]:
        """Return the entries of one module."""
        entries = self._imported.get(module)
        if entries is None:
            constant = getattr(import_module(f"{self._package}.{module}"), self._constant)
            if self._key is None:
                entries = {module: constant}
            else:
                several = constant if isinstance(constant, tuple) else (constant,)
                entries = {getattr(entry, self._key): entry for entry in several}
            self._imported[module] = entries
        return entries

    @cached_property
    def _entries(self) -> dict[Any, V]:
        return {name: entry for module in self._modules for name, entry in self._of(module).items()}

    def __getitem__(self, name: K) -> V:
        if name not in self._by_name:
            self._by_name[name] = self._searched(name)
        return self._by_name[name]

    def _searched(self, name: K) -> V:
        """Import modules until one has the entry, the one of that name first. Raises KeyError."""
        spelled = name.replace("-", "_") if isinstance(name, str) else ""
        for module in sorted(self._modules, key=lambda module: module != spelled):
            entries = self._of(module)
            if name in entries:
                return entries[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
