"""What a pipe gets has at most 100 columns: the help of every command, and every result without a framework."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

import pytest

from ckptconv.cli import commands

if TYPE_CHECKING:
    from conftest import Cli, Pair

COLUMNS = 100
COMMANDS = sorted(module.name for module in iter_modules(commands.__path__))
RESULTS = (
    "pt2tf model tf",
    "pt2flax model flax",
    "tf2pt tf from-tf",
    "flax2pt flax from-flax",
    "pt2tf model dry --dry-run",
    "normalize model plain --dtype bfloat16",
    "split model parts",
    "join parts/encoder parts/decoder whole --seed 1",
    "check tf",
    "inspect model",
    "inspect parts/encoder --stats",
    "diff model tf",
    "diff model plain",
    "verify model tf --level weights",
    "verify model other --level weights",
    "families",
    "demo shown",
)
"""Command lines that build on each other; none runs a framework."""
MISMATCH = 1
CELLS = re.compile(" {2,}")
CELLS_OF_A_ROW = 3


def test_help_fits_in_a_pipe(cli: Cli) -> None:
    """The help of every command, and of all together, uses up to 100 columns and no more."""
    for name in ("", *COMMANDS):
        outcome = cli(*filter(None, (name, "--help")))
        assert (outcome.code, outcome.err) == (0, ""), name
        assert 80 < widest(outcome.out) <= COLUMNS, f"{name}\n{outcome.out}"


@pytest.mark.thorough
def test_results_fit_in_a_pipe(
    cli: Cli, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results of every verb without a framework have lines of at most 100 columns, where names are short.

    Only tables may be wider: a pipe gets every name whole, so that `grep` finds it.
    """
    monkeypatch.chdir(tmp_path)
    pair.write(Path("model"))
    pair.arrays["decoder.cls.predictions.bias"][0] += 1
    pair.write(Path("other"))
    for line in RESULTS:
        outcome = cli(*line.split())
        assert outcome.code <= MISMATCH, outcome.err
        assert outcome.out, line
        assert widest(without_tables(outcome.out)) <= COLUMNS, f"{line}\n{outcome.out}"


def without_tables(text: str) -> str:
    """Return the lines that have fewer than three cells."""
    lines = text.splitlines()
    return "\n".join(line for line in lines if len(CELLS.split(line.strip())) < CELLS_OF_A_ROW)


def widest(text: str) -> int:
    """Return the columns of the longest line."""
    return max(map(len, text.splitlines()))
