"""Whatever the caller closed, broke or forbids: an exit code that says what happened, and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ckptconv.cli.main import cli as group
from conftest import ROOT
from covering import covering

if TYPE_CHECKING:
    from conftest import Cli, Pair

CKPTCONV = f"{sys.executable} -P -m ckptconv"
LOCKED = """
import os, sys
from ckptconv.base import errors
from ckptconv.cli.main import main
from ckptconv.verbs import inspect
def inspect_nothing(*args, **more):
    raise KeyError("a\\n::error::b")
inspect.inspect = inspect_nothing
main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_pair: type[Pair]) -> Path:
    """Return a checkpoint; not to be changed."""
    return make_pair().write(tmp_path_factory.mktemp("streams") / "model")


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in a directory."""
    return subprocess.run(
        ["bash", "-c", command.replace("ckptconv", CKPTCONV)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        ("2>&-", 0),
        ("2>/dev/full", 0),
        ("2> >(true)", 0),
        ("<&-", 0),
        ("<&- 2>&-", 0),
        (">&-", 4),
        (">/dev/full", 4),
        (">&- 2>&-", 4),
        ("<&- >&- 2>&-", 4),
        ("> >(exit)", 0),
        ("--quiet <&- >&- 2>&-", 0),
    ],
)
def test_a_stream_that_fails(model: Path, tmp_path: Path, redirection: str, code: int) -> None:
    """Nothing is written into a checkpoint instead; only a result that cannot be printed is an error."""
    process = shell(f"sleep 0.1; ckptconv pt2flax {model} out {redirection}", tmp_path)
    assert (process.returncode, "Traceback" in process.stderr) == (code, False), process.stderr
    assert shell("ckptconv check out", tmp_path).returncode == 0
    if code and "2>" not in redirection:
        assert "the result cannot be printed" in process.stderr


COMMANDS = {
    "verify {model} {model} --level weights": 0,
    "inspect {model}": 0,
    "--help": 0,
    "--version": 0,
    "families": 0,
    "inspect absent": 3,
    "nonsense": 2,
    "verify {model} other --level weights": 1,
}
"""Command -> its exit code."""
REDIRECTIONS = ("2>&-", "2>/dev/full", "> >(exit)", ">/dev/full", ">&-")


@pytest.mark.parametrize(
    ("command", "redirection"), covering(COMMANDS, REDIRECTIONS, rest=pytest.mark.soak)
)
@pytest.mark.thorough
def test_the_exit_code_still_tells(
    model: Path, tmp_path: Path, command: str, redirection: str
) -> None:
    """Broken streams change no verdict; 1 means a difference and nothing else."""
    code = COMMANDS[command]
    second = tmp_path / "other"
    second.mkdir()
    for path in model.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "model.safetensors":
            data[-1] ^= 64
        (second / path.name).write_bytes(data)
    process = shell(f"ckptconv {command.format(model=model)} {redirection}", tmp_path)
    printing = redirection in (">/dev/full", ">&-") and code in (0, 1)
    assert (process.returncode, "Traceback" in process.stderr) == (
        4 if printing else code,
        False,
    ), process.stderr


EVERY_VERB = {
    "batch": "batch plan.toml --jobs 1",
    "check": "check {model}",
    "demo": "demo dates",
    "diff": "diff {model} {model}",
    "doctor": "doctor --timeout 0.01",
    "export": "export absent out --json",
    "families": "families",
    "flax2pt": "flax2pt absent out --json",
    "inspect": "inspect {model}",
    "join": "join {model} {model} out --dry-run",
    "normalize": "normalize {model} out",
    "pt2flax": "pt2flax {model} out",
    "pt2tf": "pt2tf {model} out --dry-run",
    "selftest": "selftest --help",
    "split": "split {model} out",
    "tf2pt": "tf2pt absent out --json",
    "verify": "verify {model} {model} --level weights",
}
"""Verb -> a run of it that prints something and starts no framework for long."""


def test_every_verb_is_among_them() -> None:
    """A new verb joins the list."""
    assert sorted(EVERY_VERB) == group.list_commands(click.Context(group))


@pytest.mark.parametrize(
    ("verb", "redirection"), covering(EVERY_VERB, (">/dev/full", ">&-"), rest=pytest.mark.soak)
)
@pytest.mark.thorough
def test_no_verb_ends_as_a_difference_where_it_cannot_print(
    model: Path, tmp_path: Path, verb: str, redirection: str
) -> None:
    """A result that cannot be printed is exit code 4, or the refusal's own; never 0, 1 or a traceback."""
    plan = "[[conversion]]\ncommand = 'normalize'\nlevel = 'weights'\nsource = 'absent'\ntarget = 'x'\n"
    (tmp_path / "plan.toml").write_text(plan)
    command = EVERY_VERB[verb].format(model=model)
    process = shell(f"ckptconv {command} {redirection}", tmp_path)
    assert process.returncode in (3, 4), process
    assert "Traceback" not in process.stderr


@pytest.mark.thorough
def test_a_deleted_working_directory(model: Path, tmp_path: Path) -> None:
    """A relative path leads nowhere from there; an absolute one does."""
    gone = "mkdir gone; cd gone; rmdir ../gone; ckptconv"
    process = shell(f"{gone} pt2tf {model} out", tmp_path)
    assert (process.returncode, "Traceback" in process.stderr) == (4, False)
    assert "the working directory was deleted" in process.stderr
    for command in (
        "inspect .",
        "check out",
        "verify ../model out",
        f"join a {model} b",
        "diff . .",
        "families",
    ):
        process = shell(f"{gone} {command}", tmp_path)
        assert (process.returncode in (0, 3, 4, 5), "Traceback" in process.stderr) == (
            True,
            False,
        ), process.stderr
    assert shell(f"{gone} pt2tf {model} {tmp_path}/out", tmp_path).returncode == 0


@pytest.mark.thorough
@pytest.mark.parametrize("limit", ["-v 120000", "-v 250000", "-n 8", "-f 1", "-s 64"])
@pytest.mark.parametrize(
    "command", ["pt2flax {model} out", "verify {model} {model} --level weights"]
)
def test_a_system_that_is_short(model: Path, tmp_path: Path, limit: str, command: str) -> None:
    """Without memory, threads, files or room a run ends with a code that no verdict has, and leaves nothing half."""
    process = shell(f"ulimit {limit}; ckptconv {command.format(model=model)}", tmp_path)
    assert process.returncode != 1, process.stderr
    assert "Traceback" not in process.stderr
    if (tmp_path / "out").exists():
        assert shell("ckptconv check out", tmp_path).returncode == 0


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_an_ignored_signal_stays_ignored(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As under `nohup`, or in the background of a script."""
    script = (
        "import os, signal, sys; from ckptconv.cli.main import main; from ckptconv.transfer.publish import stage;"
        f"real = stage._publish; stage._publish = lambda *a, **k: (os.kill(os.getpid(), {number}), real(*a, **k));"
        "main()"
    )
    command = [sys.executable, "-c", script, "pt2tf", str(model), str(tmp_path / "out")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for handler, code in ((signal.SIG_IGN, 0), (signal.SIG_DFL, 128 + number)):
        process = subprocess.run(
            command,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=partial(signal.signal, number, handler),
        )
        assert (process.returncode, (tmp_path / "out").exists()) == (code, code == 0), (
            process.stderr
        )
        if code == 0:
            assert shell("rm -r out", tmp_path).returncode == 0


INTERRUPTED_AT_THE_START = """
import importlib.abc, os, signal, sys

class Ctrl(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "ckptconv.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Ctrl())
from ckptconv.__main__ import main
main()
"""
INTERRUPTED_AT_THE_END = """
import atexit, os, signal
from ckptconv.__main__ import main
atexit.register(os.kill, os.getpid(), signal.SIGINT)
main()
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        (INTERRUPTED_AT_THE_START, 130, "Error: interrupted\n"),
        (INTERRUPTED_AT_THE_END, 0, ""),
    ],
    ids=["while the command line is imported", "when all is said"],
)
def test_a_signal_at_the_edges(script: str, code: int, message: str, model: Path) -> None:
    """No traceback, whenever it comes."""
    process = subprocess.run(
        [sys.executable, "-c", script, "inspect", str(model)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (code, message)
    assert bool(process.stdout) == (code == 0)


@pytest.mark.thorough
def test_a_fault_of_our_own(model: Path, tmp_path: Path) -> None:
    """Exit code 70 and one sentence that begins no line with what a stranger wrote; --verbose adds the traceback."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LOCKED, "inspect", str(model), *options]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    plain = run()
    assert (plain.returncode, plain.stdout) == (70, "")
    first, second = plain.stderr.splitlines()
    assert first.startswith("Error: internal error in cli/commands/inspect.py:")
    assert first.endswith("KeyError: 'a\\n::error::b'")
    assert second.startswith("Please report it")
    assert '"exit_code": 70' in run("--json").stdout
    assert run("--verbose").stderr.startswith("Traceback (most recent call last):")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--min-coverage", "nan"),
        ("--min-coverage", "inf"),
        ("--min-coverage", "101"),
        ("--timeout", "nan"),
        ("--timeout", "inf"),
        ("--timeout", "1e300"),
        ("--timeout", "0"),
        ("--seed", "-1"),
        ("--seed", "1e3"),
        ("--seed", str(2**63)),
        ("--tolerance", "nan"),
        ("--tolerance", "inf"),
        ("--tolerance", "-1"),
    ],
)
def test_numbers_that_are_none(cli: Cli, model: Path, option: str, value: str) -> None:
    """Wrong usage is exit code 2, before any work."""
    outcome = cli("verify", model, model, option, value)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"Invalid value for '{option}'" in outcome.err
