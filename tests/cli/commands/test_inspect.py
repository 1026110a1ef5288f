"""`ckptconv inspect` as typed: its options, and what it shows on a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from terminal import on_terminal

if TYPE_CHECKING:
    from conftest import Cli


def names(text: str) -> list[str]:
    """Return the tensors of a table, in their order."""
    return [
        line.split()[0] for line in text.splitlines() if line.startswith(("encoder.", "decoder."))
    ]


def test_a_glob_chooses_tensors(cli: Cli, dates: Path) -> None:
    """`--tensors GLOB` lists what matches, with figures after `--stats`, in every form of output."""
    glob = "*pooler*"
    wanted = ["encoder.pooler.dense.bias", "encoder.pooler.dense.weight"]
    plain = cli("inspect", dates, "--tensors", glob)
    figures = cli("inspect", dates, "--stats", f"--tensors={glob}")
    document = json.loads(cli("inspect", dates, "--json", "--tensors", glob).out)
    page = cli("inspect", dates, "--format", "markdown", "--tensors", glob)
    assert [
        names(plain.out),
        names(figures.out),
        [tensor["name"] for tensor in document["tensors"]],
    ] == [wanted] * 3
    assert [
        line.split(" | ")[0] for line in page.out.splitlines() if line.startswith("| encoder.")
    ] == [f"| {name}" for name in wanted]
    assert ("kurtosis" in str(document), "std" in plain.out, " std " in figures.out) == (
        False,
        False,
        True,
    )
    assert [done.err for done in (plain, figures, page)] == [""] * 3


def test_everything_without_a_glob(cli: Cli, dates: Path) -> None:
    """`--tensors` alone lists all, wherever it stands; so does `--stats`; neither lists none."""
    counts = [
        len(names(cli("inspect", dates, *options).out))
        for options in ((), ("--tensors",), ("--stats",))
    ]
    first = len(names(cli("inspect", "--tensors", "*", dates).out))
    assert [*counts, first] == [0, 101, 101, 101]


@pytest.mark.thorough
def test_on_a_terminal(dates: Path) -> None:
    """No line is wider than the terminal, and piped text is not shortened."""
    shown = on_terminal("-m", "ckptconv", "inspect", str(dates), "--stats", columns=100)
    assert (shown.code, shown.err) == (0, "")
    assert max(len(line) for line in shown.out.splitlines()) <= 100
    assert "decode" in shown.out
    assert "..." in shown.out


def test_a_file_alone(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """A file of tensors has no config: the answer says so, and which directory to give; no model type is made up."""
    beside = cli("inspect", dates / "model.safetensors")
    (tmp_path / "alone.safetensors").write_bytes((dates / "model.safetensors").read_bytes())
    alone = cli("inspect", tmp_path / "alone.safetensors")
    assert [run.code for run in (beside, alone)] == [0, 0]
    texts = [" ".join(run.out.split()) for run in (beside, alone)]
    assert texts[0].endswith(
        f"{dates}/model.safetensors: a file of tensors has no config.json, which says what the model is."
        f" `ckptconv inspect {dates}` reads both."
    )
    assert texts[1].endswith("Inspect a directory that holds both.")
    assert not any("None" in text for text in texts)
