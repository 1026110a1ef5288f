"""Outputs of ckptconv without a model in them: any files, and the manifest that names them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ckptconv.transfer.manifest import Origin, write_manifest
from conftest import ROOT

FILES = {"config.json": "{}", "model.safetensors": "weights"}


def write_output(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    """Write files and their manifest, as a writing verb does; return the directory."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_manifest(
        folder, Origin("normalize", {}, "bert -> bert", "pytorch", "safetensors", "", (), {}), {}
    )
    return folder


def mounting(script: str) -> list[str]:
    """Return the command that runs a shell script where it may mount, and where nobody else sees it."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-ec", script]


NOBODY = """
import os, sys
from pathlib import Path
def become_nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""


def as_nobody(script: str, *paths: Path) -> str:
    """Run a script that calls `become_nobody()` once it has imported what it needs; return what it prints.

    The directories above the paths become passable. Skips the test where this user cannot become another.
    """
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    for path in paths:
        for folder in path.parents:
            if folder.owner() == "root" and folder.name.startswith(("pytest-", "popen-", "test_")):
                folder.chmod(0o755)
    command = [sys.executable, "-c", NOBODY + script, *map(str, paths)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert not process.stderr
    return process.stdout
