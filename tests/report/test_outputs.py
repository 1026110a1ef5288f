"""`outputs`: what running both models showed, in words and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from answering import TOKENS, answers, changed, judged
from ckptconv.report.verify import outputs_json, outputs_text, outside_text
from ckptconv.run.forward import Options
from ckptconv.run.tolerance import Tolerance


def test_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each kind of quantity, one for each search, and the texts; within 100 columns."""
    table, tokens, texts = outputs_text(judged(monkeypatch, *answers()))
    lines = table.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["outputs", "passed", "RMS", "ratio", "max", "ratio", "largest", "error", "at"],
        ["(limit", "4)", "(limit", "8)"],
    ]
    cells = [[cell.strip() for cell in re.split(r"  +", line)][:2] for line in lines[3:6]]
    assert cells == [["encoder states", "5/5"], ["logits", "5/5"], ["cached logits", "1/1"]]
    assert lines[6:] == [
        "",
        "ratio: error / PyTorch's own rounding error (float32 against float64)",
    ]
    assert max(map(len, table.splitlines())) <= 100
    assert tokens == (
        "tokens   greedy: 5 tokens in 2 rows identical\ntokens   beam: 3 tokens in 1 row identical"
    )
    assert texts.splitlines()[2].split() == ["one", "1", "1"]


def test_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the class complained of, and the step at which tokens part; each by its words."""
    source, target = answers()
    target = changed(target, "float32/right/logits", (0, 0, 0), 9.0)
    target = replace(
        changed(target, "greedy/tokens", (1, 1), 3), problems=("missing a\x1b[2Jb\nc",)
    )
    report = judged(monkeypatch, source, target)
    _, loading, tokens, _ = outputs_text(report)
    assert outside_text(report.outside[0]).startswith("right logits: error / PyTorch's own: RMS ")
    assert loading.startswith("The target's class reported while loading:\n  missing a")
    assert len(loading.splitlines()) == 2
    assert tokens.startswith(
        "tokens   greedy: row 1 diverges at step 1: source 2, target 3; the choices are 10 apart,"
    )
    off = judged(monkeypatch, source, target, Options(texts=["one"], tolerance=Tolerance(1e-3)))
    assert outside_text(off.outside[0]) == "right logits: largest error 8.7 (limit 0.001)"
    table = next(outputs_text(off))
    assert table.endswith("\n\nlimit: 0.001, as --tolerance asks")
    (logits,) = [line for line in table.splitlines() if line.startswith("logits")]
    assert logits.split()[1:4] == ["4/5", "8.7", "0.001"]


def test_json_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every quantity with all errors, every token, settings and versions; no infinities; a tie with its figures."""
    source, target = answers()
    source = changed(source, "float64/greedy/cached", (0, 1, 3), 5.0)
    source = changed(source, "float32/greedy/cached", (0, 1, 3), 5.0)
    target = changed(target, "float32/greedy/cached", (0, 1, 3), 5.0)
    target = changed(
        changed(target, "greedy/tokens", (0, 1), 3), "float32/full/logits", (0, 0, 0), np.nan
    )
    document = outputs_json(
        judged(monkeypatch, source, replace(target, settings={"tf32": False}, versions={"tf": "2"}))
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["match"], document["reference"]) == (False, "the source")
    assert (document["settings"], document["versions"]) == (
        {"pytorch": {}, "tf": {"tf32": False}},
        {"tf": "2"},
    )
    quantities = document["quantities"]
    assert isinstance(quantities, list)
    assert len(quantities) == 11
    bad = quantities[1]
    assert isinstance(bad, dict)
    assert (bad["probe"], bad["name"], bad["kind"], bad["part"], bad["layer"]) == (
        "full",
        "logits",
        "logits",
        "decoder",
        None,
    )
    assert (bad["match"], bad["rms_ratio"], bad["target"]) == (
        False,
        None,
        {"rms": None, "max": None, "compared": 3 * 41 * 8, "nans": 1},
    )
    generations = document["generations"]
    assert isinstance(generations, list)
    greedy = generations[0]
    assert isinstance(greedy, dict)
    assert (greedy["match"], greedy["source"], greedy["mismatches"]) == (
        True,
        [TOKENS[0].tolist(), [7, 2]],
        [],
    )
    ties = greedy["ties"]
    assert isinstance(ties, list)
    assert isinstance(ties[0], dict)
    assert {**ties[0], "noise": 0} == {
        "row": 0,
        "step": 1,
        "source": 5,
        "target": 3,
        "gap": 0.0,
        "noise": 0,
    }
