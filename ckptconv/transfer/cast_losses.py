"""Values that are not finite, and values that a cast loses: counted for each tensor, said, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckptconv.base.errors import PlanError, Problem
from ckptconv.base.untrusted import one_line
from ckptconv.transfer.casting import Counts

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
