"""Verifications with what strangers may call a tensor, for everything that renders one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from answering import answers, changed, judged
from ckptconv.base.errors import Problem
from ckptconv.compare.configs import ConfigDifference
from ckptconv.run.forward import Coverage, TensorCoverage
from ckptconv.verbs.verify import Verification, WeightsReport

HOSTILE = "a<b>&\"']]>\x00\x1b[2J\ud800\ufffe::error::x,%0A\n::stop-commands::y|`z`\u202e"
"""A tag, an end of data, what XML forbids, commands of a terminal and of GitHub, a cell's end, a turn of direction."""


def matching(monkeypatch: pytest.MonkeyPatch) -> Verification:
    """Return a match of two made up models."""
    report = replace(
        judged(monkeypatch, *answers()), coverage=Coverage((TensorCoverage("a", 4, 3, 2, 2),))
    )
    weights = WeightsReport(3, 12, (), (), ())
    return Verification(
        Path("one"), Path("two"), "bert -> bert", "pytorch", "tf", "hdf5", weights, report
    )


def mismatching(monkeypatch: pytest.MonkeyPatch) -> Verification:
    """Return a mismatch in everything, with hostile names."""
    source, target = answers()
    wrong = changed(
        changed(target, "float32/full/logits", (0, 0, 0), 9.0), "greedy/tokens", (0, 0), 1
    )
    report = judged(
        monkeypatch, source, replace(wrong, texts=(HOSTILE,), problems=(f"missing {HOSTILE}",))
    )
    weights = WeightsReport(3, 12, (), (Problem("unexpected", HOSTILE, "float32 [2]"),), ())
    config = (ConfigDifference("encoder.hidden_act", "gelu", HOSTILE),)
    return replace(
        matching(monkeypatch), weights=weights, outputs=report, config=config, min_coverage=50.0
    )
