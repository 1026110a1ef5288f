"""Systems that are not Linux, as far as they can be simulated here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINDOWS = """
import sys, signal
sys.platform = "win32"
del signal.SIGHUP
import ckptconv.cli.main
"""
CHILD = """
import resource, sys
real = resource.setrlimit
def refused(what, bounds):
    if what == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    real(what, bounds)
resource.setrlimit = refused
sys.platform = {platform!r}
from ckptconv.stores.parsers.hdf5_child import bound
bound({{"bytes": 1 << 31, "seconds": 60}})
sys.stdout.write(str(resource.getrlimit(resource.RLIMIT_CPU)))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_windows_is_told_what_to_use_instead() -> None:
    """One sentence and exit code 5, before anything of POSIX is imported; no traceback."""
    run = python(WINDOWS)
    assert (run.returncode, run.stdout) == (5, "")
    assert run.stderr == "Error: ckptconv runs on Linux; on Windows use WSL or a container.\n"


@pytest.mark.thorough
def test_macos_reads_hdf5_without_a_bound_on_memory() -> None:
    """It refuses RLIMIT_AS; the bound on time holds. Anywhere else the refusal is an error."""
    assert python(CHILD.format(platform="darwin")).stdout == "(60, 61)"
    assert "current limit" in python(CHILD.format(platform="linux")).stderr
