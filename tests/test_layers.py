"""Imports point down only, folder by folder, and only what runs models knows a framework."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from syntax import syntax

PACKAGE = Path(__file__).parents[1] / "ckptconv"
FOLDERS = (
    "version",
    "base",
    "schema",
    "stores",
    "binding",
    "transfer",
    "compare",
    "run",
    "artefacts",
    "verbs",
    "report",
    "batches",
    "trials",
    "__init__",
    "cli",
    "__main__",
)
"""Low to high: what a folder imports stands before it. CONTRIBUTING.md shows the same list."""
HEIGHT = {name: height for height, name in enumerate(FOLDERS)}
ML = {
    "torch",
    "tensorflow",
    "tf_keras",
    "keras",
    "jax",
    "jaxlib",
    "flax",
    "transformers",
    "safetensors",
    "msgpack",
    "onnx",
    "onnxruntime",
}


def _modules() -> dict[str, Path]:
    """Return dotted name below the package -> file."""
    files = {
        path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")
    }
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts): path
        for parts, path in files.items()
    }


MODULES = _modules()


def _folder(module: str) -> str:
    return module.split(".")[0]


@cache
def _imported(name: str) -> frozenset[str]:
    """Return every module that a module imports, at any depth; `from x import y` also as `x.y`."""
    return frozenset(_imports(MODULES[name]))


def _imports(path: Path) -> Iterator[str]:
    for node in syntax(path).imports:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            assert node.module, f"{path}: a relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inside if name.removeprefix("ckptconv.") in MODULES]
            yield from modules
            if len(modules) < len(inside):
                yield node.module


def _own(module: str) -> set[str]:
    """Return which of the package's modules a module imports."""
    names = {name for name in _imported(module) if name.split(".")[0] == "ckptconv"}
    return {name.removeprefix("ckptconv.") if name != "ckptconv" else "__init__" for name in names}


def test_every_folder_has_a_height() -> None:
    """The list names what the package holds: no more, no less."""
    assert {_folder(name) for name in MODULES} == set(HEIGHT)


def test_folders_import_downwards() -> None:
    """No folder imports one that stands above it, not even for its types; so no two import each other."""
    upward = sorted(
        (name, target)
        for name in MODULES
        if name != "__init__"  # its names are imported when one is first used
        for target in _own(name)
        if HEIGHT[_folder(target)] > HEIGHT[_folder(name)]
    )
    assert upward == []


def test_no_module_imports_itself_round_a_corner() -> None:
    """The arrows between files form no circle either."""
    waiting = {name: _own(name) - {name} for name in MODULES if name != "__init__"}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert waiting == {}


def test_underscore_modules_are_private_to_their_folder() -> None:
    """A module whose name begins with an underscore is imported by its neighbours alone."""
    strangers = sorted(
        (name, target)
        for name in MODULES
        for target in _own(name)
        if target.rpartition(".")[2].startswith("_")
        and target != "__init__"
        and _folder(target) != _folder(name)
    )
    assert strangers == []


@pytest.mark.parametrize("folder", [name for name in FOLDERS if name not in ("run", "artefacts")])
def test_only_runners_know_frameworks(folder: str) -> None:
    """Nothing outside `run/` and `artefacts/` imports a machine learning library, nor `pickle`, in any function."""
    imported = {
        target.split(".")[0]
        for name in MODULES
        if _folder(name) == folder
        for target in _imported(name)
    }
    assert imported & (ML | {"pickle"}) == set()
