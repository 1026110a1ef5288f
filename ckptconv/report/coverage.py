"""How much of the model the outputs looked at, as text and as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptconv.report.text import one_line

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.run.coverage import Coverage, TensorCoverage

MAX_GROUPS = 3
"""Groups of tensors that are shown; --json has every tensor."""


def coverage_text(found: Coverage, minimum: float | None) -> str:
    """Return the share that was reached, and below it what was not, the tensors of all layers in one line.

    Args: minimum: what was asked for [percent].
    """
    asked = (
        f", less than the {minimum:g} % asked for"
        if minimum is not None and found.percent < minimum
        else ""
    )
    groups = _groups(found)
    rest = "; for the rest the weights alone stand:" if groups else ""
    lines = [
        f"coverage {percent_text(found.percent)} of {found.numel:,} weights reach the outputs{asked}{rest}"
    ]
    lines += [f"  {one_line(name)}  {_unreached(members)}" for name, members in groups[:MAX_GROUPS]]
    more = len(groups) - MAX_GROUPS
    return "\n".join(
        [*lines, *([f"  ... and {more} more such (--json lists every tensor)"] if more > 0 else [])]
    )


def percent_text(value: float) -> str:
    """Return a share that does not say all where something is missing."""
    return "100 %" if value == 100 else f"{min(value, 99.99):.2f} %"


def _groups(found: Coverage) -> list[tuple[str, list[TensorCoverage]]]:
    """Return the tensors that were not reached in full, those of all layers together under one name."""
    groups: dict[str, list[TensorCoverage]] = {}
    for one in found.unreached:
        groups.setdefault(re.sub(r"\.\d+\.", ".*.", one.name), []).append(one)
    return list(groups.items())


def _unreached(members: list[TensorCoverage]) -> str:
    missing, numel = (
        sum(one.numel - one.reached for one in members),
        sum(one.numel for one in members),
    )
    rows, reached = sum(one.rows for one in members), sum(one.rows_reached for one in members)
    if missing == numel:
        return f"all {numel:,} unreached" if numel > 1 else "unreached"
    if rows - reached and missing * rows == numel * (
        rows - reached
    ):  # whole rows, and no other element
        return f"{rows - reached:,} of {rows:,} rows unreached"
    return f"{missing:,} of {numel:,} unreached"


def coverage_json(found: Coverage | None, minimum: float | None) -> dict[str, Json] | None:
    """Return the coverage for --json: every tensor, and which evidence stands for it."""
    if found is None:
        return None
    return {
        "percent": found.percent,
        "minimum": minimum,
        "elements": found.numel,
        "reached": found.reached,
        "tensors": [
            {
                "name": one.name,
                "elements": one.numel,
                "reached": one.reached,
                "rows": one.rows,
                "rows_reached": one.rows_reached,
                "evidence": one.evidence,
            }
            for one in found.tensors
        ],
    }
