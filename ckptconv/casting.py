"""Casts between float types, on numpy arrays of raw items; bfloat16 by its bits, since numpy has none."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.tensor import ITEMSIZE

Items: TypeAlias = NDArray[np.unsignedinteger[Any]]
Numbers: TypeAlias = NDArray[np.floating[Any]]
RawDtype: TypeAlias = np.dtype[np.unsignedinteger[Any]]
RAW: dict[int, RawDtype] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
"""Bytes an item -> the unsigned type in which bytes are moved without being interpreted."""
FLOAT: dict[str, np.dtype[np.floating[Any]]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}


def raw_dtype(dtype: str) -> RawDtype:
    """Return the unsigned type with the width of a canonical dtype."""
    return RAW[ITEMSIZE[dtype]]


def decode(items: Items, dtype: str) -> Numbers:
    """Return raw items as numbers: a view, but for bfloat16, which becomes float32 (exactly)."""
    if dtype == "bfloat16":
        return (items.astype(np.uint32) << 16).view(np.float32)
    return items.view(FLOAT[dtype])


def encode(numbers: Numbers, dtype: str) -> Items:
    """Return numbers as raw items of a dtype, rounded to nearest, ties to even; NaN stays NaN."""
    with np.errstate(over="ignore", invalid="ignore"):  # `cast` counts the one; the other is a signalling NaN
        narrow = numbers.astype(FLOAT.get(dtype, np.dtype("<f4")))
    if dtype != "bfloat16":
        return narrow.view(raw_dtype(dtype))
    bits = narrow.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(numbers), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def cast(items: Items, source: str, target: str) -> tuple[Items, int]:
    """Cast raw items. Returns the items and how many finite values became infinite."""
    numbers = decode(items, source)
    result = encode(numbers, target)
    overflowed = int(np.count_nonzero(np.isinf(decode(result, target)) & np.isfinite(numbers)))
    return result, overflowed
