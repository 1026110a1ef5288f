"""`tokens`: the same, apart by less than the noise, or a mismatch; on made-up answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from answering import answers, changed, judged
from ckptconv.run.yardstick import Generation, judge_tokens


def test_tokens_texts_and_loading_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One other token, one other text or one tensor that was not loaded is a mismatch each."""
    source, target = answers()
    report = judged(monkeypatch, source, changed(target, "greedy/tokens", (1, 1), 3))
    greedy, beam = report.generations
    assert [(fork.row, fork.step, fork.source, fork.target) for fork in greedy.mismatches] == [
        (1, 1, 2, 3)
    ]
    assert (greedy.rows, greedy.compared, greedy.distinct, beam.matches) == (2, 5, 5, True)
    assert (greedy.source, greedy.target) == (((4, 5, 6), (7, 2)), ((4, 5, 6), (7, 3)))
    assert not report.matches
    assert not judged(monkeypatch, source, replace(target, texts=("2",))).matches
    assert not judged(monkeypatch, source, replace(target, problems=("missing x",))).matches


def test_a_tie_is_said_and_what_follows_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two logits lie closer than the noise either token is right, and the logits after it are of other texts."""
    source, target = answers()
    source = changed(source, "float64/greedy/cached", (0, 1, 3), 5.0 - 1e-8)
    source = changed(source, "float32/greedy/cached", (0, 1, 3), 5.0)
    target = changed(target, "float32/greedy/cached", (0, 1, 3), 5.0)
    target = changed(target, "greedy/tokens", (0, 1), 3)
    target = changed(target, "float32/greedy/cached", (0, 2), np.nan)
    report = judged(monkeypatch, source, target)
    assert report.matches
    ((fork,), ()) = (generation.ties for generation in report.generations)
    assert (fork.row, fork.step, fork.source, fork.target) == (0, 1, 5, 3)
    assert 0 < fork.gap < fork.noise < 1e-4
    assert report.generations[0].compared == 4
    assert any(
        note.startswith("greedy: row 0 parts at step 1, source 5, target 3: a tie, 1e-08")
        for note in report.notices
    )


def test_another_beam_is_a_tie_only_where_some_decision_was_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A search whose every margin is wide gives one answer; one narrow margin anywhere may give another."""
    source, target = answers()
    target = changed(target, "beam/tokens", (0, 2), 1)
    (fork,) = judged(monkeypatch, source, target).generations[1].mismatches
    assert (fork.row, fork.step, fork.gap) == (0, 2, 0.2)
    narrow = changed(source, "beam/margins", (0, 0), 1e-7)
    report = judged(monkeypatch, narrow, target)
    assert (report.matches, report.generations[1].ties[0].gap) == (True, 1e-7)


def test_a_models_own_search_is_a_tie_only_where_float64_parts_too() -> None:
    """Token for token, in answers of any length; rounding decides where PyTorch's own two precisions disagree."""
    settings = {"own": True, "eos_token_id": 2, "pad_token_id": 0}
    source, target = answers()
    exact = np.array([[4, 5, 6, 2], [7, 2, -1, -1]])

    def judge(own: list[list[int]], rounded: np.ndarray[Any, Any] = exact) -> Generation:
        first = replace(source, arrays={**source.arrays, "own/tokens": rounded, "own/exact": exact})
        second = replace(target, arrays={**target.arrays, "own/tokens": np.array(own)})
        return judge_tokens("own", settings, first, second, first)

    assert judge([[4, 5, 6, 2], [7, 2, -1, -1]]).matches
    assert judge([[4, 5, 6, 2, -1], [7, 2, -1, -1, -1]]).matches
    apart = judge([[4, 5, 6, 8, 2], [7, 2, -1, -1, -1]])
    assert [(fork.row, fork.step, fork.is_tie) for fork in apart.forks] == [(0, 3, False)]
    flipped = np.array([[4, 5, 8, 2], [7, 2, -1, -1]])
    tie = judge([[4, 5, 6, 2], [7, 2, -1, -1]], flipped)
    assert [(fork.row, fork.step, fork.is_tie) for fork in tie.forks] == [(0, 2, True)]
    assert tie.matches


def test_a_models_own_search_is_a_tie_where_a_decision_was_one() -> None:
    """PyTorch may choose alike in both precisions where another right model does not: its margins say so.

    Of a greedy search the margin of the step counts, of beams the least one, and what an older trace does not say is
    no tie.
    """
    settings = {"own": True, "eos_token_id": 2, "pad_token_id": 0}
    source, target = answers()
    exact = np.array([[4, 5, 6, 2], [7, 2, -1, -1]])
    wide, narrow = 0.5, 1e-7

    def judge(margins: list[list[float]] | None) -> bool:
        arrays = {**source.arrays, "own/tokens": exact, "own/exact": exact}
        if margins is not None:
            arrays["own/margins"] = np.array(margins)
        first = replace(source, arrays=arrays)
        own = np.array([[4, 5, 8, 2], [7, 2, -1, -1]])
        second = replace(target, arrays={**target.arrays, "own/tokens": own})
        (fork,) = judge_tokens("own", settings, first, second, first).forks
        assert (fork.row, fork.step) == (0, 2)
        return fork.is_tie

    assert not judge(None)
    assert not judge([[wide], [narrow]])
    assert judge([[narrow], [wide]])
    assert not judge([[narrow, narrow, wide, narrow], [narrow] * 4])
    assert judge([[wide, wide, narrow, wide], [wide] * 4])
    assert not judge([[narrow, narrow], [narrow, narrow]])
