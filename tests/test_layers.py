"""Imports point down only, and only `frameworks/` knows a framework."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ckptconv"
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "discovery", "untrusted", "version"),
    ("tensor", "config", "counting", "environment", "guards", "publishing"),
    ("table", "rows", "healing", "family", "moves"),
    ("architectures", "dialects", "formats", "frameworks", "compare", "casting"),
    ("sides", "composition", "differing_config", "checkpoint", "shards", "companions", "plan", "drawing"),
    ("streaming", "digests", "manifest", "relations", "scrutiny", "hub", "evidence"),
    ("operations",),
    ("trials",),
    ("render",),
    ("commands", "console", "cli", "__init__", "__main__"),
)
"""Low to high; a folder stands for its files. docs/architecture.md shows the same list."""
LAYER = {name: height for height, names in enumerate(LAYERS) for name in names}
ML = {"torch", "tensorflow", "tf_keras", "keras", "jax", "jaxlib", "flax", "transformers", "safetensors", "msgpack"}


def _modules() -> dict[str, Path]:
    """Return dotted name below the package -> file."""
    files = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts): path
            for parts, path in files.items()}  # fmt: skip


MODULES = _modules()


def _imported(path: Path) -> Iterator[str]:
    """Return every module that a file imports, at any depth; `from x import y` also as `x.y`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inside if name.removeprefix("ckptconv.") in MODULES]
            yield from modules
            if len(modules) < len(inside):
                yield node.module


def _own(path: Path) -> set[str]:
    """Return which of the package's modules a file imports."""
    names = {name for name in _imported(path) if name.split(".")[0] == "ckptconv"}
    return {name.removeprefix("ckptconv.") if name != "ckptconv" else "__init__" for name in names}


def test_every_module_has_a_layer() -> None:
    """The list names what the package holds: no more, no less."""
    assert {name.split(".")[0] for name in MODULES} == set(LAYER)
    assert len(LAYER) == sum(map(len, LAYERS))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name: str) -> None:
    """No module imports one of a higher layer, not even for its types."""
    height = LAYER[name.split(".")[0]]
    upward = sorted(other for other in _own(MODULES[name]) if LAYER[other.split(".")[0]] > height)
    assert upward == []


def test_no_module_imports_itself_round_a_corner() -> None:
    """Within a layer the arrows form no circle either."""
    waiting = {name: _own(path) - {name} for name, path in MODULES.items()}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert waiting == {}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("frameworks")))
def test_only_frameworks_know_frameworks(name: str) -> None:
    """Nothing outside `frameworks/` imports a machine learning library, nor `pickle`, in any function."""
    assert {found.split(".")[0] for found in _imported(MODULES[name])} & (ML | {"pickle"}) == set()
