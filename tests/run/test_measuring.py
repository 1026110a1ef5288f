"""`measuring`: which elements count, and what is done with those that do; on made-up answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from answering import answers, changed, judged
from ckptconv.base.errors import FrameworkError
from ckptconv.run.forward import Options
from ckptconv.run.tolerance import Tolerance
from ckptconv.run.yardstick import LOOSE, MAX_FACTOR, RMS_FACTOR


def test_rounding_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is as far from float64 as the source is matches, with ratios near one."""
    report = judged(monkeypatch, *answers())
    assert report.matches
    assert [quantity.name for quantity in report.quantities] == [
        *["encoder.0", "logits"] * 5,
        "cached",
    ]
    assert all(0.2 < ratio < 2 for quantity in report.quantities for ratio in quantity.ratios)


def test_a_uniform_error_beyond_the_factor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the allowed error everywhere is a mismatch, half of it is not."""
    source, target = answers()
    exact = source.arrays["float64/full/logits"]
    for share, matches in ((0.5, True), (2.0, False)):
        off = exact + (source.arrays["float32/full/logits"] - exact) * RMS_FACTOR * share
        report = judged(
            monkeypatch,
            source,
            replace(target, arrays={**target.arrays, "float32/full/logits": off}),
        )
        assert report.matches is matches


def test_one_wrong_element_cannot_hide_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """One element off by more than the max-norm's factor is found, though the RMS hardly moves."""
    source, target = answers()
    exact = source.arrays["float64/full/encoder.0"]
    worst = np.abs(source.arrays["float32/full/encoder.0"] - exact).max()
    off = changed(
        target, "float32/full/encoder.0", (1, 2, 3), exact[1, 2, 3] + 1.5 * MAX_FACTOR * worst
    )
    report = judged(monkeypatch, source, off)
    (bad,) = (quantity for quantity in report.quantities if not quantity.matches)
    assert (bad.probe, bad.name) == ("full", "encoder.0")
    assert bad.ratios[0] < RMS_FACTOR < MAX_FACTOR < bad.ratios[1]


@pytest.mark.parametrize("times", [0.9, 1.1])
def test_a_lucky_worst_element_makes_no_mismatch(
    monkeypatch: pytest.MonkeyPatch, times: float
) -> None:
    """The worst element may reach as far as PyTorch's own of its kind do in any probe, times the factor; no further."""
    source, target = answers()
    exact, elsewhere = (source.arrays[f"float64/{probe}/encoder.0"] for probe in ("full", "left"))
    error = source.arrays["float32/left/encoder.0"] - elsewhere
    error[:, -1, 0] = 60 * np.abs(error).max()  # a heavy tail, as trained weights have
    source = replace(source, arrays=source.arrays | {"float32/left/encoder.0": elsewhere + error})
    own = {
        each.probe: each.own
        for each in judged(monkeypatch, source, target).quantities
        if each.name == "encoder.0" and each.own
    }
    limit = MAX_FACTOR * own["full"].rms * max(each.worst / each.rms for each in own.values())
    assert limit > 2 * MAX_FACTOR * own["full"].worst
    off = changed(target, "float32/full/encoder.0", (1, 2, 3), exact[1, 2, 3] + times * limit)
    (quantity,) = (
        each
        for each in judged(monkeypatch, source, off).quantities
        if (each.probe, each.name) == ("full", "encoder.0")
    )
    assert (quantity.ratios[1] < MAX_FACTOR) is (times < 1)


def test_an_exact_quantity_widens_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch is exact but for one element, that element says nothing of how far the others may be off."""
    source, target = answers()
    exact, elsewhere = (source.arrays[f"float64/{probe}/encoder.0"] for probe in ("full", "left"))
    nearly = elsewhere.copy()
    nearly[:, -1, 0] += 1e-9 * np.abs(elsewhere).max()
    exactly = {"float32/left/encoder.0": nearly}
    source = replace(source, arrays=source.arrays | exactly)
    target = replace(target, arrays=target.arrays | exactly)
    worst = np.abs(source.arrays["float32/full/encoder.0"] - exact).max()
    off = changed(
        target, "float32/full/encoder.0", (1, 2, 3), exact[1, 2, 3] + 1.5 * MAX_FACTOR * worst
    )
    (bad,) = (
        quantity for quantity in judged(monkeypatch, source, off).quantities if not quantity.matches
    )
    assert (bad.probe, bad.name) == ("full", "encoder.0")


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_mismatches(
    monkeypatch: pytest.MonkeyPatch, side: str, value: float
) -> None:
    """A NaN or an infinity in a valid place of either side is a mismatch."""
    source, target = answers()
    if side == "source":
        source = changed(source, "float32/full/logits", (0, 0, 0), value)
    else:
        target = changed(target, "float32/full/logits", (0, 0, 0), value)
    assert not judged(monkeypatch, source, target).matches


def test_padded_positions_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model answers at padding does not count, and a notice says so."""
    source, target = answers()
    report = judged(
        monkeypatch, source, changed(target, "float32/right/logits", (2, -1, 0), np.nan)
    )
    assert report.matches
    assert any("padded decoder positions" in notice for notice in report.notices)
    assert not judged(
        monkeypatch, source, changed(target, "float32/right/logits", (0, -1, 0), np.nan)
    ).matches


def test_almost_exact_source_does_not_ask_for_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the source has no rounding error at all, the target may still round in float32."""
    source, _ = answers(noise=0)
    _, target = answers(noise=1e-7)
    assert judged(monkeypatch, source, target).matches


def test_another_shape_is_a_mismatch_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quantity of another shape is reported, not broadcast."""
    source, target = answers()
    short = {**target.arrays, "float32/full/logits": target.arrays["float32/full/logits"][..., :1]}
    report = judged(monkeypatch, source, replace(target, arrays=short))
    (bad,) = (quantity for quantity in report.quantities if not quantity.matches)
    assert bad.problem == "the shapes differ: source [3, 41, 8], target [3, 41, 1]"
    assert bad.ratios == (np.inf, np.inf)


def test_a_quantity_of_one_side_only_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that one class does not report is left out with a notice."""
    source, target = answers()
    fewer = {key: value for key, value in target.arrays.items() if "encoder" not in key}
    report = judged(monkeypatch, source, replace(target, arrays=fewer))
    assert report.matches
    assert (
        "not compared, since reported by some of the classes only: full encoder.0, right encoder.0, left encoder.0,"
        " types encoder.0 and 1 more"
    ) in report.notices


def test_logits_must_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden states alone do not make a match."""
    source, target = answers()
    fewer = {key: value for key, value in target.arrays.items() if "logits" not in key}
    report = judged(monkeypatch, source, replace(target, arrays=fewer))
    assert not report.matches
    assert {quantity.problem for quantity in report.quantities if quantity.name == "logits"} == {
        "reported by one side only"
    }


def test_a_tolerance_takes_the_place_of_the_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who must: every element within ATOL + RTOL x the largest value, and nothing else counts."""
    source, target = answers()
    off = changed(
        target,
        "float32/full/logits",
        (0, 0, 0),
        target.arrays["float32/full/logits"][0, 0, 0] + 1e-3,
    )
    assert not judged(monkeypatch, source, off).matches
    for allowed, matches in (
        (Tolerance(2e-3), True),
        (Tolerance(5e-4), False),
        (Tolerance(0.0, 1e-3), True),
    ):
        assert (
            judged(monkeypatch, source, off, Options(texts=["one"], tolerance=allowed)).matches
            is matches
        )


def test_a_yardstick_that_measures_nothing_is_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch's own float32 is far off, a target that is as far off proves nothing."""
    report = judged(monkeypatch, *answers(noise=5 * LOOSE))
    assert not report.matches
    assert all(ratio < MAX_FACTOR for quantity in report.quantities for ratio in quantity.ratios)
    assert any("nothing can be judged: full encoder.0" in note for note in report.notices)


def test_comparing_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers without a single quantity are no match, and no mismatch either."""
    source, target = answers()
    empty = {key: array for key, array in source.arrays.items() if not key.startswith("float64/")}
    with pytest.raises(FrameworkError, match="nothing was compared"):
        judged(monkeypatch, replace(source, arrays=empty), target)
