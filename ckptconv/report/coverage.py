"""How much of the model the outputs looked at, as text and as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptconv.report.text import PIPE, Screen, one_line, prose

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.run.coverage import Coverage, TensorCoverage

MAX_GROUPS = 3
"""Groups of tensors that are shown; --json has every tensor."""


def coverage_text(coverage: Coverage, minimum: float | None, screen: Screen = PIPE) -> str:
    """Return the share that was reached, and below it what was not, the tensors of all layers in one line.

    Args: minimum: the required share [percent]. screen: where it is shown.
    """
    shortfall = (
        f", less than the required {minimum:g} %"
        if minimum is not None and coverage.percent < minimum
        else ""
    )
    share = percent_text(coverage.percent)
    lines = [f"coverage {share} of {coverage.numel:,} weights influence the outputs{shortfall}"]
    groups = _groups(coverage)
    if groups:
        rest = f"{100 - round(min(coverage.percent, 99.99), 2):.2f} %"
        lines.append(f"  the remaining {rest} are covered by the weight comparison only:")
    lines += [
        f"    {one_line(name)}  {_uncovered(members)}" for name, members in groups[:MAX_GROUPS]
    ]
    hidden = len(groups) - MAX_GROUPS
    if hidden > 0:
        lines.append(f"    ... and {hidden} more groups (--json lists every tensor)")
    return prose("\n".join(lines), screen)


def percent_text(value: float) -> str:
    """Return a share that does not say all where something is missing."""
    return "100 %" if value == 100 else f"{min(value, 99.99):.2f} %"


def _groups(coverage: Coverage) -> list[tuple[str, list[TensorCoverage]]]:
    """Return the tensors that were not reached in full, those of all layers together under one name."""
    groups: dict[str, list[TensorCoverage]] = {}
    for tensor in coverage.unreached:
        groups.setdefault(re.sub(r"\.\d+\.", ".*.", tensor.name), []).append(tensor)
    return list(groups.items())


def _uncovered(members: list[TensorCoverage]) -> str:
    missing, numel = (
        sum(tensor.numel - tensor.reached for tensor in members),
        sum(tensor.numel for tensor in members),
    )
    rows, reached = (
        sum(tensor.rows for tensor in members),
        sum(tensor.rows_reached for tensor in members),
    )
    if missing == numel:
        return f"all {numel:,} without influence" if numel > 1 else "without influence"
    if rows - reached and missing * rows == numel * (
        rows - reached
    ):  # whole rows, and no other element
        return f"{rows - reached:,} of {rows:,} rows without influence"
    return f"{missing:,} of {numel:,} without influence"


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
