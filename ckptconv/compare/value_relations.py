"""Relations in which every element keeps its place: rounded, scaled, one element changed, a bit flipped ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.compare.stream import MAX_CHANGES, Change, Kind
from ckptconv.stores.tensor import ITEMSIZE
from ckptconv.transfer.casting import FLOAT, MANTISSA, Items, Numbers, decode, encode, raw_dtype

EPSILON = {dtype: 2.0**-bits for dtype, bits in MANTISSA.items()}
"""Distance from 1 to the next number, by dtype."""
ULPS = 4
"""Rounding that a product and a cast may leave, in units of the last place."""
ENOUGH = 64
"""Elements from which on moments and correlations mean something."""
FEW = 4
"""A difference is of a few elements where at most one in so many differs."""

SPREADS = 1e-70, 1e70
"""Standard deviations of numbers whose fourth powers float64 can hold."""

BLOCK = 1 << 20
"""Elements taken at a time; drawn values are recognised by one block."""

Match: TypeAlias = tuple[Kind, str]
Flags: TypeAlias = NDArray[np.bool_]
Test: TypeAlias = Callable[[Numbers, Numbers], Flags]


def elements(
    changes: Sequence[Change], differing: int, shape: tuple[int, ...], dtype: str
) -> Match | None:
    """Say which elements changed, where they are few."""
    numel = int(np.prod(shape, dtype=np.int64))
    if (
        differing > MAX_CHANGES
        or differing != len(changes)
        or (differing > 1 and differing * FEW > numel)
    ):
        return None
    bits = changes[0].expected ^ changes[0].found
    if differing == 1 and bits.bit_count() == 1:
        return (
            "bit",
            f"{_bit(bits.bit_length() - 1, dtype)} flipped: {_change(changes[0], shape, dtype)}",
        )
    shown = ", ".join(_change(change, shape, dtype) for change in changes)
    return "element", f"{differing} element{'s' if differing > 1 else ''} changed: {shown}"


def _bit(number: int, dtype: str) -> str:
    """Name a bit of a number, from the lowest."""
    field = "mantissa" if number < MANTISSA[dtype] else "exponent"
    return f"bit {number} ({'sign' if number == 8 * ITEMSIZE[dtype] - 1 else field})"


def _change(change: Change, shape: tuple[int, ...], dtype: str) -> str:
    index = ", ".join(str(int(n)) for n in np.unravel_index(change.at, shape))
    values = (_value(bits, dtype) for bits in (change.expected, change.found))
    old, new = (f"{value:.9g}" for value in values)
    return f"[{index}] {old} -> {new}"


def _value(bits: int, dtype: str) -> float:
    """Return the number that an item's bits stand for."""
    return float(decode(np.array([bits], raw_dtype(dtype)), dtype)[0])


def constant(expected: Items, actual: Items, dtype: str) -> Match | None:
    """Say that every element is one and the same, where the expected ones are not."""
    if (
        actual.size < 2
        or not (actual == actual.flat[0]).all()
        or (expected == expected.flat[0]).all()
    ):
        return None
    value = _value(int(actual.flat[0]), dtype)
    return (
        ("zeros", "dropped: all zeros")
        if value == 0
        else ("constant", f"every element is {value:.9g}")
    )


def rounded(expected: Items, actual: Items, dtype: str) -> Match | None:
    """Say that one side is the other, rounded to a narrower type or to its own last bits."""
    for narrow in ("float32", "bfloat16", "float16"):
        if EPSILON[narrow] <= EPSILON[dtype]:
            continue
        for test, what in (
            (_is_rounded, "rounded to {} precision"),
            (_was_rounded, "what was expected is this, rounded to {} precision"),
            (_is_cut, "cut to {} precision"),
        ):
            if _holds(expected, actual, dtype, partial(test, narrow)):
                return "rounded", what.format(narrow)
    if _holds(expected, actual, dtype, partial(_is_near, dtype)):
        return "rounded", f"equal but for rounding, within {ULPS} units in the last place"
    return None


def _holds(expected: Items, actual: Items, dtype: str, test: Test) -> bool:
    """Tell whether a test holds for all elements; the first block settles nearly every case."""
    flat_expected, flat_actual = expected.reshape(-1), actual.reshape(-1)
    for start in range(0, flat_expected.size, BLOCK):
        old, new = (
            decode(items[start : start + BLOCK], dtype) for items in (flat_expected, flat_actual)
        )
        with np.errstate(all="ignore"):
            if not test(old.astype(np.float64), new.astype(np.float64)).all():
                return False
    return True


def _through(numbers: Numbers, narrow: str) -> Numbers:
    """Round numbers to a narrower type and back."""
    return decode(encode(numbers, narrow), narrow).astype(np.float64)


def _is_rounded(narrow: str, old: Numbers, new: Numbers) -> Flags:
    return np.equal(_through(old, narrow), new)


def _was_rounded(narrow: str, old: Numbers, new: Numbers) -> Flags:
    return np.equal(_through(new, narrow), old)


def _is_cut(narrow: str, old: Numbers, new: Numbers) -> Flags:
    """Tell which numbers are the old ones without the bits that a narrower type has no room for."""
    near = (np.abs(new) <= np.abs(old)) & (np.abs(new - old) <= EPSILON[narrow] * np.abs(old))
    return np.logical_and(near, np.equal(_through(new, narrow), new))


def _is_near(dtype: str, old: Numbers, new: Numbers, factor: float = 1.0) -> Flags:
    """Tell which numbers are the old ones times a factor, but for what rounding leaves."""
    goal = factor * old
    tiny = float(np.finfo(FLOAT.get(dtype, np.dtype("<f4"))).tiny)
    near: Flags = np.abs(new - goal) <= ULPS * EPSILON[dtype] * np.abs(goal) + tiny
    return near


def _beginning(items: Items, dtype: str) -> Numbers:
    """Return the first block of a tensor as float64. A signalling NaN, which some bits are, is one without a word."""
    with np.errstate(all="ignore"):
        return decode(items.reshape(-1)[:BLOCK], dtype).astype(np.float64)


def _has_moments(numbers: Numbers) -> bool:
    """Tell whether numbers are finite, not all the same, and neither so large nor so small that squares are lost."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(numbers).all()) and SPREADS[0] < float(numbers.std()) < SPREADS[1]


def scaled(expected: Items, actual: Items, dtype: str) -> Match | None:
    """Say that every element is the expected one times a constant, as far as rounding allows."""
    old, new = _beginning(expected, dtype), _beginning(actual, dtype)
    if old.size < 2:
        return None
    largest = int(np.argmax(np.abs(old)))
    with np.errstate(all="ignore"):
        factor = float(new[largest] / old[largest])
    test = partial(_is_near, dtype, factor=factor)
    if not np.isfinite(factor) or factor == 0 or not _holds(expected, actual, dtype, test):
        return None
    return (
        ("negated", "every sign is the other one")
        if factor == -1
        else ("scaled", f"scaled by {factor:.7g}")
    )


def initialised(expected: Items, actual: Items, dtype: str) -> Match | None:
    """Say that the values have nothing to do with the expected ones, and that one of the two looks drawn."""
    if actual.size < ENOUGH:
        return None
    old, new = _beginning(expected, dtype), _beginning(actual, dtype)
    if not all(_has_moments(numbers) for numbers in (old, new)):
        return None
    if abs(float(np.corrcoef(old, new)[0, 1])) > 4 / sqrt(new.size):
        return None
    if how := _drawn(new):
        return "initialised", f"looks re-initialised: uncorrelated, {how}"
    if how := _drawn(old):
        return "initialised", f"what was expected looks newly initialised: uncorrelated, {how}"
    return None


def _drawn(values: Numbers) -> str:
    """Return the distribution that values look drawn from; empty where they do not."""
    mean, std, count = float(values.mean()), float(values.std()), values.size
    kurtosis = float(np.mean(((values - mean) / std) ** 4))
    shapes = ("normal", 3.0, 4 * sqrt(24 / count)), ("uniform", 1.8, 4 / sqrt(count))
    name, expects, noise = min(shapes, key=lambda shape: abs(kurtosis - shape[1]))
    if abs(kurtosis - expects) > noise or abs(mean) > 4 / sqrt(count) * std:
        return ""
    return f"{name} around 0 with standard deviation {std:.2g}"
