"""`import ckptconv`: the public names, for Python, for completion and for type checkers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import get_args, get_type_hints

import pytest

import ckptconv
from conftest import FRAMEWORKS

ROOT = Path(__file__).parents[1]
USE = """\
import ckptconv

conversion: ckptconv.Conversion = ckptconv.pt2tf("a", "b")
ckptconv.nosuch
ckptconv.pt2tf(3)
"""


def test_every_name_is_what_its_module_defines() -> None:
    """All of `__all__` can be used, and belongs to the package; nothing else is shown to completion."""
    assert dir(ckptconv) == ckptconv.__all__ == sorted(ckptconv.__all__)
    for name in ckptconv.__all__:
        value = getattr(ckptconv, name)
        assert name == "__version__" or value.__module__.startswith("ckptconv.")
    assert {"pt2tf", "verify", "Verification", "CkptconvError"} <= set(dir(ckptconv))


def reached(value: object, types: dict[object, dict[str, object]]) -> None:
    """Resolve the hints of a class or function, its methods', and those of every class of ours that they name."""
    is_ours = str(getattr(value, "__module__", "")).startswith("ckptconv.")
    if isinstance(value, type) and is_ours and value not in types:
        types[value] = get_type_hints(value)
        # the `__init__` of a dataclass is made of its fields, which may be another module's
        own = {name: item for name, item in vars(value).items() if name != "__init__"}
        functions = [getattr(item, "fget", item) for item in own.values()]
        for function in [getattr(item, "__func__", item) for item in functions]:
            reached(function, types)
    elif isinstance(value, FunctionType) and is_ours and value not in types:
        types[value] = get_type_hints(value)
    else:
        for argument in get_args(value):
            for part in argument if isinstance(argument, list) else [argument]:
                reached(part, types)
        return
    for hint in list(types[value].values()):
        reached(hint, types)


def test_every_hint_can_be_resolved() -> None:
    """`typing.get_type_hints` answers for all that is public and all classes that it leads to, without a framework."""
    before = set(sys.modules)
    types: dict[object, dict[str, object]] = {}
    for name in ckptconv.__all__:
        reached(getattr(ckptconv, name), types)
    assert {"outputs", "weights"} <= set(types[ckptconv.Verification])
    assert len(types) > 100
    assert (set(sys.modules) - before) & FRAMEWORKS == set()


def test_a_name_that_does_not_exist() -> None:
    """Is the error that Python gives for every module."""
    with pytest.raises(AttributeError, match="module 'ckptconv' has no attribute 'nosuch'"):
        ckptconv.nosuch  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.thorough
def test_mypy_sees_the_names(tmp_path: Path) -> None:
    """A type checker knows results and arguments, and refuses a name that does not exist."""
    (tmp_path / "use.py").write_text(USE)
    # with the options and the cache of `make check`, which has read the package already
    options = [
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
    ]
    command = [sys.executable, "-m", "mypy", *options, "use.py"]
    environment = {"MYPYPATH": str(ROOT), "PATH": ""}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    errors = [line for line in run.stdout.splitlines() if line.startswith("use.py")]
    assert [line.split(":")[1] for line in errors] == ["4", "5", "5"]
    assert '"nosuch"' in errors[0]
