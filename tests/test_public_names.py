"""`import ckptconv`: the public names, for Python, for completion and for type checkers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ckptconv

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
