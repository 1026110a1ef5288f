"""`yardstick`: what a quantity is, and when its error is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptconv.run.yardstick import (
    EPSILON,
    LOOSE,
    MAX_FACTOR,
    RMS_FACTOR,
    Quantity,
    Tolerance,
    difference,
)

EXACT = np.linspace(-2.0, 2.0, 1000)
NOISE = np.where(np.arange(1000) % 2, 1e-6, -1e-6)


def quantity(own: float, target: float, **more: Any) -> Quantity:
    """Return a quantity whose errors are so many times a noise of 1e-6, for PyTorch and for the target."""
    errors = [difference(EXACT + NOISE * times, EXACT) for times in (own, target)]
    return Quantity("full", "logits", errors[0], errors[1], errors[0], ("target",), **more)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("encoder.0", ("encoder", 0, "encoder states")),
        ("encoder.11.attention", ("encoder", 11, "encoder self-attention")),
        ("encoder.last", ("encoder", None, "encoder states")),
        ("decoder.2.attention", ("decoder", 2, "decoder self-attention")),
        ("decoder.2.cross", ("decoder", 2, "decoder cross-attention")),
        ("decoder.2", ("decoder", 2, "decoder states")),
        ("logits", ("decoder", None, "logits")),
        ("cached", ("decoder", None, "cached logits")),
    ],
)
def test_a_name_says_whose_it_is(name: str, words: tuple[str, int | None, str]) -> None:
    """Part, layer and kind follow from the name."""
    one = Quantity("full", name, None, None, None, ("target",))
    assert (one.part, one.layer, one.kind) == words


def test_the_ratio_is_that_of_the_errors() -> None:
    """Error over yardstick, in the mean and at the worst; within both factors it matches."""
    assert quantity(1, 3).ratios == pytest.approx((3, 3), rel=1e-6)
    assert quantity(1, 0.99 * RMS_FACTOR).matches
    assert not quantity(1, 1.01 * RMS_FACTOR).matches


def test_the_worst_element_has_a_factor_of_its_own() -> None:
    """One element that is far off does not show in the mean."""
    own = difference(EXACT + NOISE, EXACT)
    for times, matches in ((0.99 * MAX_FACTOR, True), (1.01 * MAX_FACTOR, False)):
        off = EXACT + NOISE
        off[7] = EXACT[7] + 1e-6 * times
        one = Quantity("full", "logits", own, difference(off, EXACT), own, ("target",))
        assert (one.matches, one.ratios[0] < 2) == (matches, True)


def test_a_lucky_yardstick_has_a_floor() -> None:
    """Where PyTorch happens to be exact, others may still round; and a floor can be given, as for the loss."""
    rms = float(np.sqrt(np.mean(EXACT**2)))
    assert quantity(0, 1).ratios[0] == pytest.approx(1e-6 / (EPSILON * rms), rel=1e-6)
    assert quantity(0, 1, floor=1e-5).ratios[0] == pytest.approx(0.1, rel=1e-6)


def test_a_yardstick_that_is_too_long_judges_nothing() -> None:
    """A hundredth of the quantity itself is no rounding error."""
    rms = float(np.sqrt(np.mean(EXACT**2)))
    for share, matches in ((0.5, True), (2, False)):
        times = share * LOOSE * rms / 1e-6
        assert quantity(times, times).matches is matches


def test_a_tolerance_is_for_every_element() -> None:
    """ATOL, and RTOL times the largest magnitude of the reference, which is 2 here."""
    for allowed, matches in (
        (Tolerance(1.01e-4), True),
        (Tolerance(0.99e-4), False),
        (Tolerance(0, 0.51e-4), True),
        (Tolerance(0, 0.49e-4), False),
        (Tolerance(0.5e-4, 0.26e-4), True),
    ):
        assert quantity(1, 100, tolerance=allowed).matches is matches


def test_nothing_and_nan_never_match() -> None:
    """Without an error to judge, with a problem, with a NaN or an infinity: no match, whatever the tolerance."""
    fine = difference(EXACT + NOISE, EXACT)
    assert not Quantity("full", "logits", fine, None, fine, ("target",)).matches
    assert not Quantity("full", "logits", None, fine, fine, ("source", "target")).matches
    assert not quantity(1, 1, problem="another shape").matches
    for value in (np.nan, np.inf):
        off = EXACT.copy()
        off[3] = value
        bad = difference(off, EXACT)
        for own, target in ((fine, bad), (bad, fine)):
            assert not Quantity(
                "full", "logits", own, target, own, ("target",), tolerance=Tolerance(9e9)
            ).matches


def test_both_sides_are_judged_by_a_third() -> None:
    """Where PyTorch runs neither, the worse of the two decides."""
    own, near, far = (difference(EXACT + NOISE * times, EXACT) for times in (1, 2, 9))
    for source, target in ((near, far), (far, near)):
        one = Quantity("full", "logits", source, target, own, ("source", "target"))
        assert one.ratios == pytest.approx((9, 9), rel=1e-6)
        assert not one.matches
