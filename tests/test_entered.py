"""How many files a conversion and a verification enter: a reader who follows one has no more to open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_CONVERTING, MAX_VERIFYING = 37, 45
COUNTED = """
import sys, threading

entered = set()


def note(frame, event, argument):
    code = frame.f_code
    if event != "call" or "/ckptconv/" not in code.co_filename or code.co_name.startswith("<"):
        return
    while frame := frame.f_back:
        importing = frame.f_code.co_name == "<module>" and "/ckptconv/" in frame.f_code.co_filename
        if importing:
            return  # a table that is made while its module is imported is no step of the run
    entered.add(code.co_filename)


sys.setprofile(note)
threading.setprofile(note)
from ckptconv.cli.main import main

try:
    main()
except SystemExit as ending:
    sys.setprofile(None)
    sys.stderr.write("\\n" + "\\n".join(sorted(entered)))
    sys.exit(ending.code)
"""
"""Names, last on standard error, every file of ckptconv in which a named function was entered, in any thread."""


def entered(*arguments: str | Path) -> list[str]:
    """Run a command line; return the files that it entered, those of child processes not counted."""
    run = subprocess.run(
        [sys.executable, "-c", COUNTED, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [line for line in run.stderr.splitlines() if line.endswith(".py")]


def test_a_conversion_enters_few_files(tmp_path: Path) -> None:
    """`pt2tf` is followed through at most 37 files."""
    files = entered("pt2tf", ROOT / "fixtures" / "dates", tmp_path / "tf")
    assert files
    assert len(files) <= MAX_CONVERTING, "\n".join(files)


@pytest.mark.soak
@pytest.mark.frameworks
def test_a_verification_enters_few_files(tmp_path: Path) -> None:
    """`verify` of weights and outputs is followed through at most 45 files."""
    entered("pt2tf", ROOT / "fixtures" / "dates", tmp_path / "tf")
    files = entered("verify", ROOT / "fixtures" / "dates", tmp_path / "tf")
    assert files
    assert len(files) <= MAX_VERIFYING, "\n".join(files)
