"""Environments of Python with packages of their own, from the index, above those that the tests run with."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import ROOT


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment, and what runs in it."""

    python: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """What it has beside this process's own."""
    folder: Path = ROOT
    """Where commands run."""

    def run(self, *args: object, code: int = 0) -> str:
        """Run Python; return what it printed."""
        process = self._process(*args)
        assert process.returncode == code, f"{process.stdout[-3000:]}\n{process.stderr[-3000:]}"
        return process.stdout

    def _process(self, *args: object) -> subprocess.CompletedProcess[str]:
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **self.variables,
        }
        return subprocess.run(
            [str(self.python), *map(str, args)],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )

    def ckptconv(self, *args: object, code: int = 0) -> str:
        """Run the command line; return what it printed."""
        return self.run("-m", "ckptconv", *args, code=code)

    def refusal(self, *args: object, code: int) -> str:
        """Run a command line that must fail; return what it said: an error, and no traceback."""
        process = self._process("-m", "ckptconv", *args)
        assert process.returncode == code, f"{process.stdout[-3000:]}\n{process.stderr[-3000:]}"
        assert process.stderr.startswith("Error: ")
        return process.stderr

    def tests(self, *args: object) -> None:
        """Run some of these tests there."""
        self.run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *args)


def layered(folder: Path, requirements: Sequence[str]) -> Environment:
    """Return an environment with some packages of its own, above those that the tests run with."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = folder / "lib" / version / "site-packages"
    install(["--target", str(packages), *requirements])
    (packages / "below.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Environment(folder / "bin" / "python")


def install(arguments: Sequence[str], python: str | Path = sys.executable) -> None:
    """Let pip install something; skip the test where it cannot."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    process = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if process.returncode:
        pytest.skip(f"cannot be installed here: {process.stderr.strip().splitlines()[-1]}")
