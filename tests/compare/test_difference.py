"""`compare`: two arrays, how far apart they are."""

from __future__ import annotations

from math import inf, isinf, nan

import numpy as np
import pytest

from ckptconv.run.yardstick import difference


def test_equal_arrays_do_not_differ() -> None:
    """Equal arrays have no difference, and the count of what was compared is there to see."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = difference(array, array.copy())
    assert (result.compared, result.differing, result.worst, result.rms, result.relative) == (
        6,
        0,
        0,
        0,
        0,
    )


def test_worst_element_is_located() -> None:
    """The worst element is named by its index, with its size and the RMS over all."""
    reference = np.full((2, 3), 2.0)
    copy = reference.copy()
    copy[1, 2] += 3.0
    copy[0, 1] -= 1.0
    result = difference(copy, reference)
    assert (result.differing, result.worst, result.where) == (2, 3.0, (1, 2))
    assert result.rms == pytest.approx(np.sqrt(10 / 6))
    assert result.reference_rms == pytest.approx(2.0)
    assert result.relative == pytest.approx(np.sqrt(10 / 6) / 2)


@pytest.mark.parametrize(("found", "reference"), [(nan, 1.0), (1.0, nan), (nan, nan)])
def test_nan_equals_nothing(found: float, reference: float) -> None:
    """A NaN on either side, or on both at the same place, is a difference without bound."""
    result = difference(np.array([0.0, found]), np.array([0.0, reference]))
    assert (result.differing, result.nans, result.where) == (1, 1, (1,))
    assert isinf(result.worst)
    assert isinf(result.rms)


def test_infinities() -> None:
    """The same infinity is equal; another one, or a number, is infinitely far."""
    assert difference(np.array([inf, 1.0]), np.array([inf, 1.0])).differing == 0
    assert difference(np.array([inf]), np.array([-inf])).worst == inf
    assert difference(np.array([inf]), np.array([1.0])).worst == inf


def test_shapes_must_match_and_nothing_is_an_error() -> None:
    """Arrays that would broadcast are refused, and so is an empty comparison."""
    with pytest.raises(ValueError, match="shape"):
        difference(np.zeros((2, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="nothing"):
        difference(np.zeros((0, 3)), np.zeros((0, 3)))


def test_rms_survives_extreme_magnitudes() -> None:
    """Squares of very large and very small differences neither overflow nor vanish."""
    assert difference(np.array([3e200, 4e200]), np.zeros(2)).rms == pytest.approx(
        np.sqrt(12.5) * 1e200
    )
    assert difference(np.array([3e-200, 4e-200]), np.zeros(2)).rms == pytest.approx(
        np.sqrt(12.5) * 1e-200
    )


def test_difference_against_zeros_is_relative_to_nothing() -> None:
    """Against a reference of zeros the relative error is infinite, unless there is none."""
    assert difference(np.ones(2), np.zeros(2)).relative == inf
    assert difference(np.zeros(2), np.zeros(2)).relative == 0


def test_narrow_types_are_compared_in_float64() -> None:
    """float16 differences do not overflow to infinity, and scalars have the index ()."""
    result = difference(np.array([60000], np.float16), np.array([-60000], np.float16))
    assert result.worst == pytest.approx(119_968, rel=1e-3)
    assert difference(np.float32(1.0) * np.ones(()), np.zeros(())).where == ()
