"""Completion in bash, zsh and fish: what Tab offers, asked as the shell asks it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Cli

ROOT = Path(__file__).parents[2]
SHELLS = ("bash", "zsh", "fish")
SETUP = "PS1='$ '; bind 'set bell-style none'; eval \"$(_CKPTCONV_COMPLETE=bash_source ckptconv)\"; echo rea''dy\n"
SECONDS = 60.0


def offered(run: Cli, shell: str, *words: str) -> list[tuple[str, str]]:
    """Return kind and value of what is offered for the last of some words."""
    asked = {"COMP_WORDS": " ".join(("ckptconv", *words)), "COMP_CWORD": str(len(words))}
    if shell == "fish":
        asked["COMP_CWORD"] = words[-1]
    out = run(env={**asked, "_CKPTCONV_COMPLETE": f"{shell}_complete"}).out
    if shell == "zsh":
        fields = out.splitlines()
        return list(zip(fields[0::3], fields[1::3], strict=True))
    separated = [re.split(r"[,\t]", line) for line in out.splitlines()]
    return [(item[0], item[1]) for item in separated]


@pytest.mark.thorough
@pytest.mark.parametrize("shell", SHELLS)
def test_what_each_shell_is_offered(run: Cli, shell: str) -> None:
    """Commands, options, the choices of an option, and directories where a checkpoint is meant."""
    assert offered(run, shell, "pt2") == [("plain", "pt2flax"), ("plain", "pt2tf")]
    assert offered(run, shell, "pt2tf", "--max") == [("plain", "--max-shard-size")]
    assert offered(run, shell, "pt2tf", "--format", "h") == [("plain", "hdf5")]
    for words in (
        ("pt2tf", "fix"),
        ("pt2tf", "a", "fix"),
        ("verify", "a", "fix"),
        ("join", "--bridge", "fix"),
    ):
        assert offered(run, shell, *words) == [("dir", "fix")]


@pytest.mark.thorough
@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_reads(run: Cli, shell: str) -> None:
    """The documented line gives a script for `ckptconv`; where the shell is installed, it parses it."""
    outcome = run(env={"_CKPTCONV_COMPLETE": f"{shell}_source"})
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_CKPTCONV_COMPLETE={shell}_complete" in outcome.out
    assert (
        f"_CKPTCONV_COMPLETE={shell}_source ckptconv"
        in (ROOT / "docs" / "completion.md").read_text()
    )
    if result := shutil.which(shell):
        assert (
            subprocess.run([result, "-n"], input=outcome.out, text=True, check=False).returncode
            == 0
        )


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[int]:
    """Return the terminal of a bash that has run the line of docs/completion.md."""
    program = tmp_path / "ckptconv"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ckptconv "$@"\n')
    program.chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
    }
    ours, its = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=its,
        stdout=its,
        stderr=its,
        env=env,
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(its)
    os.write(ours, SETUP.encode())
    read_until(ours, "ready")
    yield ours
    shell.kill()
    shell.wait()
    os.close(ours)


def read_until(terminal: int, text: str) -> bool:
    """Read what a terminal shows until a text appears in it; False where it does not."""
    shown, end = "", time.monotonic() + SECONDS
    while (
        text not in shown and select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]
    ):
        shown += os.read(terminal, 4096).decode(errors="replace")
    return text in shown


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_tab_in_a_real_bash(bash: int) -> None:
    """Tab completes a command, an option and a directory, as they stand on the line."""
    for typed, completed in (
        ("ckptconv fami\t", "ckptconv families "),
        ("\x15ckptconv split --over\t", "ckptconv split --overwrite "),
        ("\x15ckptconv inspect fixtu\t", "ckptconv inspect fixtures/"),
    ):
        os.write(bash, typed.encode())
        assert read_until(bash, completed), typed
