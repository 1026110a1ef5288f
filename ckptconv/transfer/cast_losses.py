"""Values that are not finite, and values that a cast loses: counted for each tensor, said, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckptconv.base.errors import PlanError, Problem
from ckptconv.base.untrusted import one_line
from ckptconv.transfer.casting import Counts

SHOWN = 5
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
    kept: str
    """Its dtype in the source."""
    written: str
    """Its dtype in the target."""
    numel: int
    """Elements written."""
    counts: Counts


def require_finite(what: str, found: Sequence[TensorValues]) -> None:
    """Refuse a cast that makes infinities of numbers.

    Raises: PlanError: every tensor in which that happens, and how often.
    """
    lost = [one for one in found if one.counts.overflowed]
    if lost:
        raise PlanError(
            f"{what}: cast to {lost[0].written}",
            [
                Problem(
                    "values", one.name, f"{one.counts.overflowed} of {one.numel} become infinite"
                )
                for one in lost
            ],
            "Choose a wider --dtype (bfloat16 has float32's range), or --allow-overflow to write infinities.",
        )


def value_notices(found: Sequence[TensorValues]) -> Iterator[str]:
    """Say what is not finite in the source, and what casts lost: one sentence for each kind."""
    for field, what in (("nan", "NaN"), ("infinite", "infinite")):
        if where := _where(found, field):
            yield f"the source holds {_total(found, field):,} {what} value{_s(_total(found, field))}, kept: {where}"
    for field, what in LOSSES.items():
        if where := _where(found, field):
            total = _total(found, field)
            into = sorted({one.written for one in found if getattr(one.counts, field)})
            yield f"cast to {', '.join(into)}: {total:,} {what.format(_s(total))}: {where}"


def _total(found: Sequence[TensorValues], field: str) -> int:
    return sum(getattr(one.counts, field) for one in found)


def _s(count: int) -> str:
    return "s" if count != 1 else ""


def _where(found: Sequence[TensorValues], field: str) -> str:
    """Name the tensors, those with the largest count first."""
    ranked = sorted(
        ((getattr(one.counts, field), one) for one in found),
        key=lambda pair: (-pair[0], pair[1].name),
    )
    named = [f"{one_line(one.name)} ({count:,} of {one.numel:,})" for count, one in ranked if count]
    more = [f"{len(named) - SHOWN} more"] if len(named) > SHOWN else []
    return ", ".join([*named[:SHOWN], *more])
