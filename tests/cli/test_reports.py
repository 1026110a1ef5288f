"""Reports of a command: where they may be written, and where not, known before the work begins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import ROOT

if TYPE_CHECKING:
    from conftest import Cli, Pair


@pytest.fixture
def model(pair: Pair, tmp_path: Path) -> Path:
    """Return a checkpoint."""
    return pair.write(tmp_path / "model")


@pytest.mark.thorough
def test_a_report_on_stdout(cli: Cli, model: Path) -> None:
    """`-` is standard output: the report alone is there, and the text goes to stderr."""
    plain = cli("verify", model, model, "--level", "weights")
    outcome = cli("verify", model, model, "--level", "weights", "--junit", "-")
    assert (outcome.code, outcome.err) == (0, plain.err + plain.out)
    assert outcome.out.startswith("<?xml") or outcome.out.startswith("<testsuites")
    page = cli("inspect", model, "--html", "-")
    assert page.out.startswith("<!doctype html>") or page.out.startswith("<!DOCTYPE html>")
    assert "bert -> bert" in page.err


@pytest.mark.thorough
def test_dev_stdout_is_stdout(model: Path, tmp_path: Path) -> None:
    """Where it is a file that is neither replaced nor cut short; and a pipe of the shell is written through."""
    command = f"{sys.executable} -m ckptconv verify {model} {model} --level weights --quiet --junit"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = f"cd {tmp_path}; echo before > log; {command} /dev/stdout >> log; {command} >(cat > copy); sleep 0.5"
    subprocess.run(["bash", "-c", shell], env=env, check=True)
    log, copy = (
        re.sub(r'time="[\d.]+"', "", (tmp_path / name).read_text()) for name in ("log", "copy")
    )
    assert (log, copy.strip().endswith("</testsuites>")) == (f"before\n{copy}", True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--html", "-", "--json"],
            "--json and --html both write to standard output; give --html a file.",
        ),
        (
            ["--html", "/dev/stdout", "--json"],
            "--json and --html both write to standard output; give --html a file.",
        ),
        (["--html", "{x}", "--junit", "{x}"], "--html and --junit are the same file: {x}"),
        (
            ["--html", "-", "--junit", "/dev/stdout"],
            "--html and --junit are the same file: /dev/stdout",
        ),
        (
            ["--save-trace", "{x}", "--junit", "{x}"],
            "--junit and --save-trace are the same file: {x}",
        ),
    ],
)
def test_two_outputs_that_are_one(cli: Cli, tmp_path: Path, options: list[str], says: str) -> None:
    """Wrong usage, exit code 2, before anything is read: the checkpoints need not even be there."""
    filled = [option.format(x=tmp_path / "x") for option in options]
    outcome = cli("verify", tmp_path / "absent", tmp_path / "absent", *filled)
    assert (outcome.code, outcome.err.splitlines()[-1]) == (
        2,
        f"Error: {says.format(x=tmp_path / 'x')}",
    )


@pytest.mark.parametrize("option", ["--html", "--junit", "--save-trace"])
@pytest.mark.parametrize(
    "place", ["model/model.safetensors", "model/report", "alias", "inputs.jsonl"]
)
def test_an_input_is_never_written(
    cli: Cli, model: Path, tmp_path: Path, option: str, place: str
) -> None:
    """Weights, a place in the checkpoint, a hard link to the weights, the inputs: exit code 4, every byte is there."""
    (tmp_path / "alias").hardlink_to(model / "model.safetensors")
    (tmp_path / "inputs.jsonl").write_text('{"text": "x"}\n')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = cli(
        "verify", model, model, "--inputs", tmp_path / "inputs.jsonl", option, tmp_path / place
    )
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith(f"Error: {option}: {tmp_path / place}: ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("verb", "count"), [("inspect", 1), ("diff", 2)])
def test_a_page_in_the_place_of_weights(cli: Cli, model: Path, verb: str, count: int) -> None:
    """No verb writes its page over what it reads."""
    weights = model / "model.safetensors"
    before = weights.read_bytes()
    outcome = cli(verb, *[model] * count, "--html", weights)
    assert (outcome.code, weights.read_bytes()) == (4, before)


def test_the_null_device_takes_any_number(cli: Cli, model: Path) -> None:
    """It is a device afterwards, too."""
    outcome = cli(
        "verify", model, model, "--level", "weights", "--junit", "/dev/null", "--html", "/dev/null"
    )
    assert (outcome.code, Path(os.devnull).is_char_device()) == (0, True)


def test_the_summary_on_github(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe without a reader does not keep the run waiting; a page that is a report too is refused."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "pipe"))
    outcome = cli("verify", model, model, "--level", "weights")
    assert (outcome.code, "no summary was written (No such device or address)" in outcome.err) == (
        0,
        True,
    )
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page"))
    assert cli("verify", model, model, "--level", "weights", "--junit", tmp_path / "page").code == 2
    assert cli("verify", model, model, "--level", "weights").code == 0
    assert (tmp_path / "page").read_text()
