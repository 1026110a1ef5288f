"""What a child process can import: its runtime, and nothing else that happens to be installed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

STANDARD = Path(os.__file__).parent
COMMON = ("numpy", "ckptconv")
"""Distributions that every child has."""


def fence(distributions: Sequence[str]) -> None:
    """Let this process import some distributions, what they require, numpy, ckptconv and the standard library.

    For everything else it is as if it were not installed: `find_spec` returns None, `import` raises
    ModuleNotFoundError. Modules that were imported before stay.
    """
    names = frozenset(sys.stdlib_module_names) | {"ckptconv", *importable(distributions)}
    sys.meta_path[:] = [_Fenced(finder, names) for finder in sys.meta_path]


def importable(distributions: Sequence[str]) -> set[str]:
    """Return the top-level modules of distributions, of what they require, and of what every child has."""
    return {
        module
        for name in _required([*distributions, *COMMON])
        for module in _modules(metadata.distribution(name))
    }


def _required(distributions: Sequence[str]) -> Iterator[str]:
    """Return installed distributions and all that they require, however indirectly, each once; no extras."""
    queue, visited = list(distributions), set()
    while queue:
        name = queue.pop()
        if _normal(name) in visited:
            continue
        visited.add(_normal(name))
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # another system's, or one that is not needed here
        yield name
        queue += [
            match.group()
            for line in requirements
            if not re.search(r";.*\bextra\s*==", line)
            and (match := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line))
        ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _modules(distribution: metadata.Distribution) -> Iterator[str]:
    """Return the top-level modules of one distribution."""
    listed = distribution.read_text("top_level.txt")
    if listed:
        yield from listed.split()
        return
    for path in distribution.files or ():
        first = path.parts[0]
        if len(path.parts) > 1 or first.endswith((".py", ".so")):
            yield first.partition(".")[0]


def _is_standard(spec: Any) -> bool:
    """Tell whether a module is part of Python: some, such as `_sysconfigdata...`, have names of their own."""
    origin = Path(getattr(spec, "origin", None) or "/")
    return origin.is_relative_to(STANDARD) and "site-packages" not in origin.parts


class _Fenced:
    """A finder of modules that finds only some."""

    def __init__(self, finder: Any, names: frozenset[str]) -> None:
        self._finder, self._names = finder, names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        spec = self._finder.find_spec(name, path, target)
        if name.partition(".")[0] in self._names or _is_standard(spec):
            return spec
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)
