"""Arrays, and what may have happened to them: every kind of fault that a comparison tells from the others."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
RANDOM = np.random.default_rng(7)
TABLE = RANDOM.standard_normal((24, 11)).astype(np.float32)
SQUARE = RANDOM.standard_normal((13, 13)).astype(np.float32)
BIAS = RANDOM.standard_normal(13).astype(np.float32)


def at(array: Array, index: int, value: float) -> Array:
    """Return a copy with one element changed, by its place in row-major order."""
    copy = array.copy()
    copy.reshape(-1)[index] = value
    return copy


def flipped(array: Array, index: int, bit: int) -> Array:
    """Return a copy with one bit of one element flipped."""
    copy = array.copy()
    copy.view(np.uint32).reshape(-1)[index] ^= np.uint32(1 << bit)
    return copy


def bfloat16(array: Array, *, cut: bool = False) -> Array:
    """Return float32 values with bfloat16's precision: rounded to nearest, ties to even, or cut off."""
    bits = array.view(np.uint32)
    rounded = bits if cut else bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16 << 16).astype(np.uint32).view(np.float32)


FAULTS: dict[str, tuple[Array, Callable[[Array], Array], str, str]] = {
    "transposed": (SQUARE, lambda a: a.T, "transposed", "transposed"),
    "transposed and reshaped": (
        TABLE,
        lambda a: a.T.reshape(a.shape),
        "transposed",
        "transposed, its numbers then read in the expected shape",
    ),
    "axes": (
        TABLE.reshape(4, 6, 11)[:, :4],
        lambda a: a.transpose(1, 0, 2),
        "transposed",
        "axes in the order 1 0 2",
    ),
    "scaled": (SQUARE, lambda a: a * np.float32(0.3), "scaled", "scaled by 0.3"),
    "negated": (SQUARE, np.negative, "negated", "every sign is the other one"),
    "float16": (
        SQUARE,
        lambda a: a.astype(np.float16).astype(np.float32),
        "rounded",
        "rounded to float16 precision",
    ),
    "bfloat16": (SQUARE, bfloat16, "rounded", "rounded to bfloat16 precision"),
    "cut": (SQUARE, lambda a: bfloat16(a, cut=True), "rounded", "cut to bfloat16 precision"),
    "expected was rounded": (
        bfloat16(SQUARE),
        lambda a: SQUARE,
        "rounded",
        "what was expected is this, rounded to bfloat16 precision",
    ),
    "last bits": (
        SQUARE,
        lambda a: np.nextafter(a, np.float32(9)),
        "rounded",
        "equal but for rounding, within 4 units in the last place",
    ),
    "rolled": (TABLE, lambda a: np.roll(a, 2, 0), "shifted", "shifted by 2 along row"),
    "rolled columns": (TABLE, lambda a: np.roll(a, -1, 1), "shifted", "shifted by -1 along dim"),
    "shifted": (
        TABLE,
        lambda a: np.concatenate([a[2:], np.zeros_like(a[:2])]),
        "shifted",
        "shifted by -2 along row; 2 at the end hold other values",
    ),
    "a shifted bias": (BIAS, lambda a: np.roll(a, 1), "shifted", "shifted by 1 along row"),
    "permuted": (
        TABLE,
        lambda a: a[[1, 0, 3, 2, *range(4, 24)]],
        "permuted",
        "4 of 24 along row are in another order: 0 holds 1, 1 holds 0, 2 holds 3, 3 holds 2",
    ),
    "overwritten": (
        TABLE,
        lambda a: a[[0, 0, 2, 0, *range(4, 24)]],
        "permuted",
        "2 of 24 along row are overwritten with others: 1 holds 0, 3 holds 0",
    ),
    "one row copied": (
        TABLE,
        lambda a: a[[0, 5, *range(2, 24)]],
        "row",
        "1 along row holds 5; all others are right",
    ),
    "one row rolled": (
        TABLE,
        lambda a: np.concatenate([a[:1], np.roll(a[1:2], 1, 1), a[2:]]),
        "row",
        "1 along row is shifted by 1 within itself; all others are right",
    ),
    "one row lost": (
        TABLE,
        lambda a: np.concatenate([a[:1], np.zeros_like(a[1:2]), a[2:]]),
        "row",
        "1 along row is all zeros; all others are right",
    ),
    "one row changed": (
        TABLE,
        lambda a: np.concatenate([a[:1], a[1:2] ** 2, a[2:]]),
        "row",
        "1 along row changed; all others are right",
    ),
    "one element": (
        np.full((7, 7), 2, np.float32),
        lambda a: at(a, 9, 2.3),
        "element",
        "1 element changed: [1, 2] 2 -> 2.29999995",
    ),
    "some elements": (
        np.full((7, 7), 2, np.float32),
        lambda a: at(at(a, 9, 3), 0, nan),
        "element",
        "2 elements changed: [0, 0] 2 -> nan, [1, 2] 2 -> 3",
    ),
    "the last bit": (
        np.full(5, 2, np.float32),
        lambda a: flipped(a, 3, 0),
        "bit",
        "bit 0 (mantissa) flipped: [3] 2 -> 2.00000024",
    ),
    "a sign": (
        np.full(5, 2, np.float32),
        lambda a: flipped(a, 3, 31),
        "bit",
        "bit 31 (sign) flipped: [3] 2 -> -2",
    ),
    "an exponent": (
        np.full(5, 2, np.float32),
        lambda a: flipped(a, 3, 23),
        "bit",
        "bit 23 (exponent) flipped: [3] 2 -> 4",
    ),
    "dropped": (BIAS, np.zeros_like, "zeros", "dropped: all zeros"),
    "constant": (BIAS, np.ones_like, "constant", "every element is 1"),
    "drawn": (
        SQUARE,
        lambda a: np.random.default_rng(1).normal(0, 0.02, a.shape).astype(np.float32),
        "initialised",
        "looks re-initialised: uncorrelated, normal around 0 with standard deviation 0.018",
    ),
    "drawn evenly": (
        SQUARE,
        lambda a: np.random.default_rng(1).uniform(-1, 1, a.shape).astype(np.float32),
        "initialised",
        "looks re-initialised: uncorrelated, uniform around 0 with standard deviation 0.55",
    ),
    "trained": (
        SQUARE,
        lambda a: a + np.random.default_rng(1).normal(0, 0.02, a.shape).astype(np.float32),
        "changed",
        "changed",
    ),
    "another": (
        SQUARE**3,
        lambda a: np.random.default_rng(1).standard_normal(a.shape).astype(np.float32) ** 3 + 2,
        "changed",
        "changed beyond recognition",
    ),
}
