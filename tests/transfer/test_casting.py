"""`casting`: every 16-bit pattern against numpy and ml_dtypes, single rounding, and what is not finite or is lost."""

from __future__ import annotations

import math
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ckptconv.stores.tensor import FLOATS, ITEMSIZE
from ckptconv.transfer.casting import (
    FLOAT,
    NOTHING,
    Counts,
    cast,
    decode,
    encode,
    raw_dtype,
    special,
)

Array = NDArray[Any]
ALL = np.arange(65536, dtype=np.uint16)
TYPES = {**FLOAT, "bfloat16": np.dtype(ml_dtypes.bfloat16)}
PAIRS = [(source, target) for source in FLOATS for target in FLOATS if source != target]
TINIEST = {name: float(ml_dtypes.finfo(dtype).tiny) for name, dtype in TYPES.items()}
"""The smallest normal number of each type."""


def interesting() -> Array:
    """Return float32 patterns: every top half, with the bottom halves where rounding turns."""
    bottoms = np.array(
        [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32
    )
    return ((ALL.astype(np.uint32) << 16)[:, None] | bottoms).reshape(-1)


def same(one: Array, other: Array) -> bool:
    """Say whether two arrays of a float type agree in every bit; NaN agrees with NaN."""
    bits = one.view(f"u{one.itemsize}") == other.view(f"u{other.itemsize}")
    with np.errstate(invalid="ignore"):
        return bool(np.all(bits | (np.isnan(one) & np.isnan(other))))


def counted(before: Array, source: str, after: Array, target: str) -> Counts:
    """Count by meaning, in float64, what `cast` counts by bits."""
    with np.errstate(invalid="ignore"):
        first, second = before.astype(np.float64), after.astype(np.float64)
    low = (
        (np.abs(second) < TINIEST[target])
        & (second != 0)
        & (np.abs(first) >= TINIEST[source])
        & (first != second)
    )
    return Counts(
        nan=int(np.isnan(first).sum()),
        infinite=int(np.isinf(first).sum()),
        overflowed=int((np.isinf(second) & np.isfinite(first)).sum()),
        zeroed=int(((second == 0) & (first != 0)).sum()),
        subnormal=int(low.sum()),
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_pattern_is_decoded(dtype: str) -> None:
    """All 65,536 patterns mean the number that the reference says."""
    with np.errstate(invalid="ignore"):  # of signalling NaNs
        expected = ALL.view(TYPES[dtype]).astype(np.float64)
        result = decode(ALL, dtype).astype(np.float64)
    assert same(result, expected)
    assert np.array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("target", ["float64", "float32"])
@pytest.mark.parametrize("source", ["float16", "bfloat16"])
def test_every_16_bit_pattern_survives_widening(source: str, target: str) -> None:
    """Widened and narrowed again, every pattern comes back, bit for bit; a signalling NaN may be made a quiet one."""
    wide, counts = cast(ALL, source, target)
    again, counts_again = cast(wide, target, source)
    quiet = 1 << (9 if source == "float16" else 6)
    free = np.where(np.isnan(decode(ALL, source)), quiet, 0).astype(np.uint16)
    assert np.array_equal(again | free, ALL | free)
    nan = {"float16": 2046, "bfloat16": 254}[source]
    assert counts == counts_again == Counts(nan=nan, infinite=2)
    assert (wide.dtype, again.dtype) == (raw_dtype(target), raw_dtype(source))


@pytest.mark.parametrize(("source", "target"), [("float16", "bfloat16"), ("bfloat16", "float16")])
def test_every_16_bit_pattern_in_the_other_16_bits(source: str, target: str) -> None:
    """All 65,536 patterns are rounded as ml_dtypes rounds them, and what is lost is counted."""
    result, counts = cast(ALL, source, target)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        expected = ALL.view(TYPES[source]).astype(np.float32).astype(TYPES[target])
    assert same(result.view(TYPES[target]), expected)
    assert counts == counted(ALL.view(TYPES[source]), source, expected, target)


@pytest.mark.parametrize("target", ["float16", "bfloat16"])
def test_float32_is_rounded_to_nearest_even(target: str) -> None:
    """720,896 patterns at and around every place where rounding turns, against numpy and ml_dtypes."""
    values = interesting().view(np.float32)
    result, counts = cast(interesting(), "float32", target)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        expected = values.astype(TYPES[target])
    assert same(result.view(TYPES[target]), expected)
    assert counts == counted(values, "float32", expected, target)
    assert min(counts.overflowed, counts.zeroed, counts.nan) > 0
    assert (counts.subnormal > 0) == (target == "float16")


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_special_values(source: str, target: str) -> None:
    """Zeros keep their sign, infinities stay and are not counted as lost, NaN stays NaN."""
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5], TYPES[source])
    result, counts = cast(values.view(raw_dtype(source)), source, target)
    expected = values.astype(TYPES[target])
    assert same(result.view(TYPES[target]), expected)
    assert (counts, result.dtype.itemsize) == (Counts(nan=1, infinite=2), ITEMSIZE[target])


@pytest.mark.parametrize(
    ("source", "target", "largest"),
    [
        ("float32", "float16", 65504.0),
        ("float64", "float32", 3.4028234663852886e38),
        ("bfloat16", "float16", 65280.0),
        ("float64", "bfloat16", 3.3895313892515355e38),
    ],
)
def test_what_becomes_infinite_is_counted(source: str, target: str, largest: float) -> None:
    """The largest number fits, with either sign; the doubles of it do not, and are counted."""
    values = np.array([largest, -largest, 2 * largest, -2 * largest, np.inf], TYPES[source])
    result, counts = cast(values.view(raw_dtype(source)), source, target)
    assert counts == Counts(infinite=1, overflowed=2)
    assert result.view(TYPES[target]).astype(np.float64).tolist() == [
        largest,
        -largest,
        np.inf,
        -np.inf,
        np.inf,
    ]


@given(st.lists(st.floats(width=64), max_size=20))
def test_float64_to_float32_is_numpys(values: list[float]) -> None:
    """Any doubles are narrowed as numpy narrows them, and what is lost is counted."""
    doubles = np.array(values, np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        expected = doubles.astype(np.float32)
    assert same(encode(doubles, "float32").view(np.float32), expected)
    assert cast(doubles.view(np.uint64), "float64", "float32")[1] == counted(
        doubles, "float64", expected, "float32"
    )


@given(
    st.lists(st.floats(width=32), max_size=20), st.sampled_from(["float64", "float16", "bfloat16"])
)
def test_what_a_cast_of_float32_loses(values: list[float], target: str) -> None:
    """Any floats: ml_dtypes' result, counts by meaning; and a cast to float64 loses nothing."""
    floats = np.array(values, np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        expected = floats.astype(TYPES[target])
    result, counts = cast(floats.view(np.uint32), "float32", target)
    assert same(result.view(TYPES[target]), expected)
    assert counts == counted(floats, "float32", expected, target)


@given(st.integers(0, 0x7F7F), st.sampled_from([-1, 0, 1]), st.integers(0, 40), st.booleans())
def test_doubles_are_rounded_once(bits: int, side: int, depth: int, negative: bool) -> None:
    """A double beside the middle of two bfloat16 numbers, however near, goes to the one that is nearer."""
    low, high = (struct.unpack("<f", struct.pack("<I", item << 16))[0] for item in (bits, bits + 1))
    top = high if math.isfinite(high) else 2.0**128
    middle = (low + top) / 2
    value = middle + side * (top - low) * 2.0**-depth / 8
    nearest = bits + ((side > 0) if side else bits & 1)
    values = encode(np.array([-value if negative else value]), "bfloat16")
    assert int(values[0]) == nearest | (0x8000 if negative else 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sign", [0.0, -0.0])
def test_one_that_is_not_finite_among_many(dtype: str, sign: float) -> None:
    """A single NaN or infinity of either sign is seen anywhere; finite numbers and other dtypes are nothing."""
    values = np.full(1000, math.copysign(1.0, sign), TYPES[dtype])
    assert (
        special(values.view(raw_dtype(dtype)), dtype)
        == special(np.empty(0, raw_dtype(dtype)), dtype)
        == NOTHING
    )
    for value, expected in ((np.nan, Counts(nan=1)), (np.inf, Counts(infinite=1))):
        changed = values.copy()
        changed[617] = np.copysign(value, sign)
        assert special(changed.view(raw_dtype(dtype)), dtype) == expected
    assert special(np.array([-1], np.int64).view(np.uint64), "int64") == NOTHING
