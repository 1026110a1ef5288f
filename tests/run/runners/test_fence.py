"""`_fence`: a runner's child imports its runtime, and nothing else that happens to be installed."""

from __future__ import annotations

import subprocess
import sys

from ckptconv.run.runners._fence import importable

CHILD = """
import importlib, importlib.util, sys, sysconfig
from ckptconv.run.runners._fence import fence
fence(["safetensors"])
for name in ("numpy", "safetensors", "ckptconv.run", "json", "decimal"):
    importlib.import_module(name)
sysconfig.get_config_vars()  # reads a module that is Python's under another name
assert importlib.util.find_spec("pytest") is None
try:
    import pytest
except ModuleNotFoundError as error:
    print(error)
"""


def test_only_the_runtime_can_be_imported() -> None:
    """What is not named and not required is as if it were not installed; Python, numpy and ckptconv are there."""
    child = subprocess.run(
        [sys.executable, "-P", "-c", CHILD], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "No module named 'pytest'"


def test_what_a_runtime_requires_comes_along() -> None:
    """Its own requirements and theirs, without extras; a distribution that is not installed adds nothing."""
    modules = importable(["pytest", "no-such-distribution"])
    assert {"pytest", "_pytest", "pluggy", "iniconfig", "numpy"} <= modules
    assert not {"transformers", "torch", "hypothesis"} & modules
