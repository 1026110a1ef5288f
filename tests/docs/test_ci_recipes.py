"""docs/ci.md: every command of its recipes does what the page says, on the trained checkpoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

ROOT = Path(__file__).parents[2]
FENCES = re.findall(
    r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "ci.md").read_text(), re.MULTILINE | re.DOTALL
)
SCRIPTS = [text for kind, text in FENCES if kind == "sh"]
COMMAND = re.compile(r"^ *- (?:run: )?(ckptconv .*)$", re.MULTILINE)
PIPELINES = [
    COMMAND.findall(text) for kind, text in FENCES if kind == "yaml" and COMMAND.search(text)
]
SHARED = "set -eu\n" + "\n".join(PIPELINES[0])
"""Both pipelines run the same commands."""


@pytest.fixture
def shell(tmp_path: Path, dates: Path) -> dict[str, str]:
    """Return an environment with `ckptconv` on the path, as an installation has it, and a model to convert."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ckptconv"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckptconv "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MODEL": str(dates)}


def test_the_page_has_the_recipes() -> None:
    """Three scripts, and two pipelines that run the same commands."""
    assert len(SCRIPTS) == 3
    assert [len(pipeline) for pipeline in PIPELINES] == [2, 2]
    assert PIPELINES[0] == PIPELINES[1]


@pytest.mark.thorough
def test_weights_alone(shell: dict[str, str], tmp_path: Path) -> None:
    """The second script needs no framework, and says nothing but by its exit code."""
    process = subprocess.run(
        ["sh", "-c", SCRIPTS[1]],
        cwd=tmp_path,
        env=shell,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "verify" not in process.stdout


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(SCRIPTS[0], id="shell"),
        pytest.param(SCRIPTS[2], id="trace", marks=pytest.mark.soak),
        pytest.param(SHARED, id="pipelines", marks=pytest.mark.soak),
    ],
)
def test_recipes(shell: dict[str, str], tmp_path: Path, script: str) -> None:
    """Each converts, matches, and leaves a file for JUnit without a failure."""
    process = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env=shell,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr
    assert (
        process.stdout.splitlines()[-1]
        == "MATCH: bert -> bert, tf hdf5 against PyTorch, weights and outputs"
    )
    root = Xml.parse(tmp_path / "verify.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert int(root.get("tests") or 0) > 70


@pytest.mark.soak
@pytest.mark.frameworks
def test_the_summary_fits_one_screen(
    shell: dict[str, str], tmp_path: Path, converted_tf: Path, dates: Path
) -> None:
    """What a verify of the demo's model prints is at most 24 lines of 100 columns."""
    command = ["ckptconv", "verify", str(dates), str(converted_tf)]
    process = subprocess.run(
        command, cwd=tmp_path, env=shell, capture_output=True, text=True, check=True
    )
    lines = process.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
