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


def coverage_text(coverage: Coverage, minimum: float | None) -> str:
    """Return the share that was reached, and below it what was not, the tensors of all layers in one line.

    Args: minimum: what was asked for [percent].
    """
    shortfall = (
        f", less than the {minimum:g} % asked for"
        if minimum is not None and coverage.percent < minimum
        else ""
    )
    groups = _groups(coverage)
    remainder = "; for the rest the weights alone stand:" if groups else ""
    lines = [
        f"coverage {percent_text(coverage.percent)} of {coverage.numel:,} weights reach the outputs{shortfall}{remainder}"
    ]
    lines += [f"  {one_line(name)}  {_unreached(members)}" for name, members in groups[:MAX_GROUPS]]
    hidden = len(groups) - MAX_GROUPS
    return "\n".join(
        [
            *lines,
            *([f"  ... and {hidden} more such (--json lists every tensor)"] if hidden > 0 else []),
        ]
    )


def percent_text(value: float) -> str:
    """Return a share that does not say all where something is missing."""
    return "100 %" if value == 100 else f"{min(value, 99.99):.2f} %"


def _groups(coverage: Coverage) -> list[tuple[str, list[TensorCoverage]]]:
    """Return the tensors that were not reached in full, those of all layers together under one name."""
    groups: dict[str, list[TensorCoverage]] = {}
    for tensor in coverage.unreached:
        groups.setdefault(re.sub(r"\.\d+\.", ".*.", tensor.name), []).append(tensor)
    return list(groups.items())


def _unreached(members: list[TensorCoverage]) -> str:
    missing, numel = (
        sum(tensor.numel - tensor.reached for tensor in members),
        sum(tensor.numel for tensor in members),
    )
    rows, reached = (
        sum(tensor.rows for tensor in members),
        sum(tensor.rows_reached for tensor in members),
    )
    if missing == numel:
        return f"all {numel:,} unreached" if numel > 1 else "unreached"
    if rows - reached and missing * rows == numel * (
        rows - reached
    ):  # whole rows, and no other element
        return f"{rows - reached:,} of {rows:,} rows unreached"
    return f"{missing:,} of {numel:,} unreached"


def coverage_json(coverage: Coverage | None, minimum: float | None) -> dict[str, Json] | None:
    """Return the coverage for --json: every tensor, and which evidence stands for it."""
    if coverage is None:
        return None
    return {
        "percent": coverage.percent,
        "minimum": minimum,
        "elements": coverage.numel,
        "reached": coverage.reached,
        "tensors": [
            {
                "name": tensor.name,
                "elements": tensor.numel,
                "reached": tensor.reached,
                "rows": tensor.rows,
                "rows_reached": tensor.rows_reached,
                "evidence": tensor.evidence,
            }
            for tensor in coverage.tensors
        ],
    }
