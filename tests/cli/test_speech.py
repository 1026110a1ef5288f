"""What commands say on terminals, in pipes, loudly and quietly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv import __version__
from terminal import on_terminal

if TYPE_CHECKING:
    from conftest import Cli, Pair

RED, GREEN, YELLOW, PLAIN = "\x1b[31m\x1b[1m", "\x1b[32m\x1b[1m", "\x1b[33m\x1b[1m", "\x1b[0m"
HEALED = (
    "note: encoder.embeddings.token_type_embeddings: row 0 repeated 64 times,"
    " since `encode` passes positions as token types\n"
    "note: if this model is trained further in Flax, `flax2pt --take-trained-row` is the way back\n"
)
WRAPPED = (
    "note: encoder.embeddings.token_type_embeddings: row 0 repeated 64 times, since\n"
    "  `encode` passes positions as token types\n"
    "note: if this model is trained further in Flax, `flax2pt --take-trained-row` is\n"
    "  the way back\n"
)


@pytest.mark.thorough
def test_notes_fit_the_terminal(dates: Path, tmp_path: Path) -> None:
    """On a terminal a note is cut into lines that fit, and its first word is coloured."""
    shown = on_terminal("-m", "ckptconv", "pt2flax", str(dates), str(tmp_path / "out"))
    assert (shown.code, shown.err) == (0, WRAPPED.replace("note", f"{YELLOW}note{PLAIN}"))
    wide = on_terminal("-m", "ckptconv", "pt2flax", str(dates), str(tmp_path / "wide"), columns=200)
    assert max(map(len, wide.err.replace(YELLOW, "").replace(PLAIN, "").splitlines())) <= 100


@pytest.mark.thorough
def test_no_colour_where_none_is_wanted(dates: Path, tmp_path: Path) -> None:
    """NO_COLOR takes the colour away and leaves the lines."""
    shown = on_terminal(
        "-m", "ckptconv", "pt2flax", str(dates), str(tmp_path / "out"), env={"NO_COLOR": "1"}
    )
    assert (shown.code, shown.err) == (0, WRAPPED)


def test_a_pipe_gets_plain_lines(run: Cli, dates: Path, tmp_path: Path) -> None:
    """In a pipe a note is one line, whatever TERM says."""
    assert run("pt2flax", dates, tmp_path / "out", env={"TERM": "xterm-256color"}).err == HEALED


@pytest.mark.thorough
def test_errors_are_red(tmp_path: Path) -> None:
    """The word Error is red on a terminal; a path is never cut in two."""
    long = tmp_path / ("a" * 90)
    shown = on_terminal("-m", "ckptconv", "split", str(long), "out")
    assert (shown.code, shown.out) == (3, "")
    assert shown.err == (
        f"{RED}Error{PLAIN}:\n  {long}:\n"
        "  no such directory. A checkpoint is a directory: give the one that holds\n"
        "  config.json and the weights.\n"
    )


def test_the_verdicts_of_a_batch_are_coloured() -> None:
    """At the beginning of a row, and after the count of what is done; not in the midst of a name."""
    text = "MATCH    a\n[1/2] NOT PROVEN a\nREFUSED  b: MATCH  c\n[1/2] a MATCH  b\nMATCH a"
    shown = on_terminal(
        "-c", f"from ckptconv.cli.speech import show\nshow(False, dict, lambda screen: {text!r})"
    )
    assert shown.out.splitlines() == [
        f"{GREEN}MATCH{PLAIN}    a",
        f"[1/2] {RED}NOT PROVEN{PLAIN} a",
        f"{RED}REFUSED{PLAIN}  b: MATCH  c",
        "[1/2] a MATCH  b",
        "MATCH a",
    ]


@pytest.mark.parametrize(("word", "colour"), [("MATCH", GREEN), ("MISMATCH", RED)])
def test_the_verdict_is_green_or_red(word: str, colour: str) -> None:
    """The verdict is coloured where it begins a line; no escape comes from what is printed itself."""
    text = f"MATCHES: \x1b[2J\nthe MATCH: none\n{word}: bert -> bert"
    shown = on_terminal(
        "-c", f"from ckptconv.cli.speech import show\nshow(False, dict, lambda screen: {text!r})"
    )
    assert shown.out == f"MATCHES: \\x1b[2J\nthe MATCH: none\n{colour}{word}{PLAIN}: bert -> bert\n"


@pytest.mark.thorough
def test_verbose_tells_versions_and_phases(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """`--verbose` says what ran and how long each phase took, on stderr; the result is the same."""
    plain = cli("pt2tf", dates, tmp_path / "plain")
    outcome = cli("pt2tf", dates, tmp_path / "verbose", "--verbose")
    assert (outcome.code, outcome.out) == (0, plain.out.replace("plain", "verbose"))
    versions, phases = outcome.err.split("\n   ", 1)
    assert versions.startswith(f"ckptconv {__version__}, Python 3.")
    assert max(map(len, versions.splitlines())) <= 100
    assert re.sub(r" *\d+\.\d\d s  ", "", f"   {phases}").splitlines() == [
        "headers read, every move planned",
        "1.7 MB written and read back",
        "flushed to the disk and published",
    ]
    dry = cli("pt2tf", dates, tmp_path / "dry", "--verbose", "--dry-run")
    assert (
        re.sub(r" *\d+\.\d\d s  ", "", dry.err).splitlines()[-1]
        == "headers read, every move planned"
    )
    quiet = cli("pt2tf", dates, tmp_path / "quiet", "--verbose", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_many_notices_are_cut_but_for_verbose_and_json(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    """Twenty notices are shown and the rest counted; --verbose and --json have them all."""
    monkeypatch.setattr("ckptconv.cli.speech.MAX_NOTICES", 1)
    pair.files = {"code.py": ""}
    pair.config["encoder"]["type_vocab_size"] = 1
    pair.arrays["encoder.embeddings.token_type_embeddings.weight"] = pair.arrays[
        "encoder.embeddings.token_type_embeddings.weight"
    ][:1]
    source = pair.write(tmp_path / "source")
    outcome = cli("pt2flax", source, tmp_path / "json", "--json")
    notices = json.loads(outcome.out)["notices"]
    assert len(notices) == 3
    more = "note: 2 more; --verbose and --json list them all"
    assert outcome.err.splitlines() == [f"note: {notices[0]}", more]
    loud = cli("pt2flax", source, tmp_path / "loud", "--verbose").err.splitlines()
    assert [line for line in loud if line.startswith("note: ")] == [
        f"note: {notice}" for notice in notices
    ]


@pytest.mark.parametrize(
    ("args", "last"),
    [
        (["docter"], "Error: No such command 'docter'. Did you mean 'doctor'?"),
        (
            ["pt2tf", "a", "b", "--overwrit"],
            "Error: No such option '--overwrit'. Did you mean '--overwrite'?",
        ),
        (
            ["split", "a", "b", "--max-shard"],
            "Error: No such option '--max-shard'. Did you mean '--max-shard-size'?",
        ),
    ],
)
def test_did_you_mean(cli: Cli, args: list[str], last: str) -> None:
    """Commands and options that are spelt nearly right are named."""
    outcome = cli(*args)
    assert (outcome.code, outcome.out, outcome.err.splitlines()[-1]) == (2, "", last)
