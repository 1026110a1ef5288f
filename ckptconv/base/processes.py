"""Child processes that run a module of this very ckptconv: their command line, their path, and how they ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module.

    The working directory is not on the path of such a process: a checkpoint's folder may hold a torch.py.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def with_own_path(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables in which PYTHONPATH leads to this ckptconv first, wherever it was imported from."""
    paths = [str(ROOT), *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    return {**variables, "PYTHONPATH": os.pathsep.join(paths)}


def ending(code: int) -> str:
    """Return how a process ended that should not have ended so: the signal that killed it, or its exit code."""
    if code >= 0:
        return f"exit code {code}"
    hint = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
    return f"killed by {signal_name(-code)}{hint}"


def signal_name(number: int) -> str:
    """Return what a signal is called; a real-time signal has a number alone."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
