"""`casting`: every 16-bit pattern against numpy and ml_dtypes, and what becomes infinite."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptconv.casting import FLOAT, cast, decode, encode, raw_dtype
from ckptconv.tensor import FLOATS, ITEMSIZE

ALL = np.arange(65536, dtype=np.uint16)
TYPES = {**FLOAT, "bfloat16": np.dtype(ml_dtypes.bfloat16)}
PAIRS = [(source, target) for source in FLOATS for target in FLOATS if source != target]


def interesting() -> np.ndarray:
    """Return float32 patterns: every top half, with the bottom halves where rounding turns."""
    bottoms = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return ((ALL.astype(np.uint32) << 16)[:, None] | bottoms).reshape(-1)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Say whether two arrays of a float type agree in every bit; NaN agrees with NaN."""
    bits = one.view(f"u{one.itemsize}") == other.view(f"u{other.itemsize}")
    with np.errstate(invalid="ignore"):
        return bool(np.all(bits | (np.isnan(one) & np.isnan(other))))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_pattern_is_decoded(dtype: str) -> None:
    """All 65,536 patterns mean the number that the reference says."""
    with np.errstate(invalid="ignore"):  # of signalling NaNs
        expected = ALL.view(TYPES[dtype]).astype(np.float64)
        found = decode(ALL, dtype).astype(np.float64)
    assert same(found, expected)
    assert np.array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("target", ["float64", "float32"])
@pytest.mark.parametrize("source", ["float16", "bfloat16"])
def test_every_16_bit_pattern_survives_widening(source: str, target: str) -> None:
    """Widened and narrowed again, every pattern that is a number comes back, and a NaN stays a NaN."""
    wide, lost = cast(ALL, source, target)
    again, lost_again = cast(wide, target, source)
    assert same(again.view(TYPES[source]), ALL.view(TYPES[source]))
    assert (lost, lost_again, wide.dtype, again.dtype) == (0, 0, raw_dtype(target), raw_dtype(source))


@pytest.mark.parametrize("target", ["float16", "bfloat16"])
def test_float32_is_rounded_to_nearest_even(target: str) -> None:
    """720,896 patterns at and around every place where rounding turns, against numpy and ml_dtypes."""
    values = interesting().view(np.float32)
    found, lost = cast(interesting(), "float32", target)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(TYPES[target])
    assert same(found.view(TYPES[target]), expected)
    assert lost == np.count_nonzero(np.isinf(expected.astype(np.float32)) & np.isfinite(values)) > 0


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_special_values(source: str, target: str) -> None:
    """Zeros keep their sign, infinities stay and are not counted as lost, NaN stays NaN."""
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5], TYPES[source])
    found, lost = cast(values.view(raw_dtype(source)), source, target)
    expected = values.astype(TYPES[target])
    assert same(found.view(TYPES[target]), expected)
    assert (lost, found.dtype.itemsize) == (0, ITEMSIZE[target])


@pytest.mark.parametrize(("source", "target", "largest"), [
    ("float32", "float16", 65504.0), ("float64", "float32", 3.4028234663852886e38), ("bfloat16", "float16", 65280.0),
    ("float64", "bfloat16", 3.3895313892515355e38),
])  # fmt: skip
def test_what_becomes_infinite_is_counted(source: str, target: str, largest: float) -> None:
    """The largest number fits, with either sign; the doubles of it do not, and are counted."""
    values = np.array([largest, -largest, 2 * largest, -2 * largest, np.inf], TYPES[source])
    found, lost = cast(values.view(raw_dtype(source)), source, target)
    assert lost == 2
    assert found.view(TYPES[target]).astype(np.float64).tolist() == [largest, -largest, np.inf, -np.inf, np.inf]


@given(st.lists(st.floats(width=64), max_size=20))
def test_float64_to_float32_is_numpys(values: list[float]) -> None:
    """Any doubles are narrowed as numpy narrows them."""
    doubles = np.array(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = doubles.astype(np.float32)
    assert same(encode(doubles, "float32").view(np.float32), expected)
