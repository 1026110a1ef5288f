"""Casts between float types, on numpy arrays of raw items, and the values that they lose; bfloat16 by its bits.

What is not finite, or does not survive a cast, is counted by its bits, for each tensor, and said or refused: an
infinity is the exponent's mask, a NaN is above it, a subnormal is below the smallest normal number. So nothing
depends on how the processor rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.base.errors import PlanError, Problem, one_line
from ckptconv.stores.tensor import FLOATS, ITEMSIZE

Items: TypeAlias = NDArray[np.unsignedinteger[Any]]
Numbers: TypeAlias = NDArray[np.floating[Any]]
RawDtype: TypeAlias = np.dtype[np.unsignedinteger[Any]]
RAW: dict[int, RawDtype] = {
    1: np.dtype("u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
"""Bytes an item -> the unsigned type in which bytes are moved without being interpreted."""
FLOAT: dict[str, np.dtype[np.floating[Any]]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}
STEP = 1 << 15
"""Items cast at a time: all that is made on the way stays in the cache (a third of the time, measured)."""
MANTISSA = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
"""Explicit bits of the mantissa; one bit is the sign, the others are the exponent."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many values of a tensor are not finite, or were lost in a cast."""

    nan: int = 0
    """In the source."""
    infinite: int = 0
    """In the source."""
    overflowed: int = 0
    """Finite in the source, infinite after the cast."""
    zeroed: int = 0
    """Not zero in the source, zero after the cast."""
    subnormal: int = 0
    """Normal in the source, so near to zero after the cast that it is subnormal and has lost bits."""

    def __add__(self, other: Counts) -> Counts:
        if other == NOTHING:
            return self
        return Counts(
            self.nan + other.nan,
            self.infinite + other.infinite,
            self.overflowed + other.overflowed,
            self.zeroed + other.zeroed,
            self.subnormal + other.subnormal,
        )


NOTHING = Counts()


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
    if dtype != "bfloat16":
        return _narrowed(numbers, FLOAT[dtype]).view(raw_dtype(dtype))
    bits = _to_odd(numbers).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    nan = np.isnan(numbers)
    if nan.any():
        rounded[nan] = (bits[nan] >> 16) | 0x40
    return rounded


def _narrowed(numbers: Numbers, dtype: np.dtype[np.floating[Any]]) -> Numbers:
    with np.errstate(
        over="ignore", under="ignore", invalid="ignore"
    ):  # counted by `cast`; or a signalling NaN
        return numbers.astype(dtype)


def _to_odd(numbers: Numbers) -> Numbers:
    """Return float32, rounded so that rounding once more to bfloat16 is as good as rounding once.

    Only doubles are rounded twice: to nearest, what lay beside a tie could be taken for the tie. Rounding to odd
    (S. Boldo and G. Melquiond, 2008) truncates and sets the last bit of all that is not exact.
    """
    narrow = _narrowed(numbers, FLOAT["float32"])
    if numbers.dtype != FLOAT["float64"]:
        return narrow
    with np.errstate(invalid="ignore"):
        wide = narrow.astype(np.float64)
        bits = narrow.view(np.uint32) - (
            np.abs(wide) > np.abs(numbers)
        )  # magnitudes are ordered as their bits are
        odd: Items = (bits | ((wide != numbers) & ~np.isnan(numbers))).astype(np.uint32)
        return odd.view(np.float32)


def cast(items: Items, source: str, target: str) -> tuple[Items, Counts]:
    """Cast raw items. Returns the items and what was not finite or is lost."""
    flat = items.reshape(-1)
    result, counts = np.empty(flat.size, raw_dtype(target)), NOTHING
    for start in range(0, flat.size, STEP):
        part = slice(start, start + STEP)
        result[part], lost = _cast(flat[part], source, target)
        counts += lost
    return result.reshape(items.shape), counts


def _cast(items: Items, source: str, target: str) -> tuple[Items, Counts]:
    result = encode(decode(items, source), target)
    nonfinite = special(items, source)
    before, after = _magnitudes(items, source), _magnitudes(result, target)
    infinite = int(np.count_nonzero(after == _infinity(target)))
    zeros = int(np.count_nonzero(after == 0))
    low = (after < _normal(target)) & (after != 0) & (before >= _normal(source))
    inexact = decode(result[low], target) != decode(items[low], source) if low.any() else low
    lost = Counts(
        overflowed=infinite - nonfinite.infinite,
        zeroed=zeros - int(np.count_nonzero(before == 0)),
        subnormal=int(np.count_nonzero(inexact)),
    )
    return result, nonfinite + lost


def special(items: Items, dtype: str) -> Counts:
    """Count NaN and infinities.

    Two maxima tell whether there are any: 0.02 s a GB (measured, in the cache), so that every move can be asked.
    """
    if dtype not in FLOATS or not items.size:
        return NOTHING
    infinity, sign = _infinity(dtype), 1 << (8 * items.itemsize - 1)
    signed = items.view(f"<i{items.itemsize}")
    if int(signed.max()) < infinity and int(items.max()) < sign | infinity:
        return NOTHING
    magnitudes = _magnitudes(items, dtype)
    nan = int(np.count_nonzero(magnitudes > infinity))
    return Counts(nan, int(np.count_nonzero(magnitudes == infinity)))


def _magnitudes(items: Items, dtype: str) -> Items:
    """Return the items without their signs."""
    return items & raw_dtype(dtype).type((1 << (8 * ITEMSIZE[dtype] - 1)) - 1)


def _infinity(dtype: str) -> int:
    """Return the bits of plus infinity: a NaN's magnitude is above."""
    mantissa = MANTISSA[dtype]
    return ((1 << (8 * ITEMSIZE[dtype] - 1)) - 1) >> mantissa << mantissa


def _normal(dtype: str) -> int:
    """Return the bits of the smallest normal number."""
    return 1 << MANTISSA[dtype]


MAX_NAMES_SHOWN = 5
"""Tensors named in a notice; the JSON output has them all."""
LOSSES = {
    "overflowed": "finite value{} became infinite",
    "zeroed": "value{} became zero",
    "subnormal": "value{} became subnormal and lost bits",
}
"""Field of `Counts` -> what happened in a cast."""


@dataclass(frozen=True, slots=True)
class TensorValues:
    """What a move found in one tensor."""

    name: str
    """As the source spells it."""
    source_dtype: str
    """Its dtype in the source."""
    target_dtype: str
    """Its dtype in the target."""
    numel: int
    """Elements written."""
    counts: Counts


def require_finite(what: str, values: Sequence[TensorValues]) -> None:
    """Refuse a cast that makes infinities of numbers.

    Raises: PlanError: every tensor in which that happens, and how often.
    """
    lost = [tensor for tensor in values if tensor.counts.overflowed]
    if lost:
        raise PlanError(
            f"{what}: cast to {lost[0].target_dtype}",
            [
                Problem(
                    "values",
                    tensor.name,
                    f"{tensor.counts.overflowed} of {tensor.numel} become infinite",
                )
                for tensor in lost
            ],
            "Choose a wider --dtype (bfloat16 has float32's range), or --allow-overflow to write infinities.",
        )


def value_notices(values: Sequence[TensorValues]) -> Iterator[str]:
    """Say what is not finite in the source, and what casts lost: one sentence for each kind."""
    for field, what in (("nan", "NaN"), ("infinite", "infinite")):
        if where := _where(values, field):
            yield f"the source holds {_total(values, field):,} {what} value{_s(_total(values, field))}, kept: {where}"
    for field, what in LOSSES.items():
        if where := _where(values, field):
            total = _total(values, field)
            into = sorted(
                {tensor.target_dtype for tensor in values if getattr(tensor.counts, field)}
            )
            yield f"cast to {', '.join(into)}: {total:,} {what.format(_s(total))}: {where}"


def _total(values: Sequence[TensorValues], field: str) -> int:
    return sum(getattr(tensor.counts, field) for tensor in values)


def _s(count: int) -> str:
    return "s" if count != 1 else ""


def _where(values: Sequence[TensorValues], field: str) -> str:
    """Name the tensors, those with the largest count first."""
    ranked = sorted(
        ((getattr(tensor.counts, field), tensor) for tensor in values),
        key=lambda pair: (-pair[0], pair[1].name),
    )
    named = [
        f"{one_line(tensor.name)} ({count:,} of {tensor.numel:,})"
        for count, tensor in ranked
        if count
    ]
    more = [f"{len(named) - MAX_NAMES_SHOWN} more"] if len(named) > MAX_NAMES_SHOWN else []
    return ", ".join([*named[:MAX_NAMES_SHOWN], *more])
