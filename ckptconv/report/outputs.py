"""What running both models showed, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptconv.report.coverage import coverage_json, coverage_text
from ckptconv.report.text import one_line, table

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.compare.difference import Difference
    from ckptconv.run.report import ForwardReport
    from ckptconv.run.tokens import Fork, Generation
    from ckptconv.run.yardstick import Quantity


def outputs_text(report: ForwardReport, minimum: float | None = None) -> Iterator[str]:
    """Return blocks: a line for each kind of quantity, what the class complained of, and what was generated.

    Args: minimum: the coverage that was asked for [percent].
    """
    headers = ("outputs", "within", "rms ratio", "max ratio", "the farthest")
    yield table(kind_rows(report), headers, ("left", "right", "right", "right", "left"))
    if report.loading:
        lines = (f"  {one_line(one)}" for one in report.loading)
        yield "\n".join(["the class that loaded the target complained:", *lines])
    if report.generations:
        yield "\n".join(generation_text(one) for one in report.generations)
    if report.coverage:
        yield coverage_text(report.coverage, minimum)
    if report.texts:
        yield table(report.texts, ("text", "source", "target"))


def kind_rows(report: ForwardReport) -> list[tuple[str, str, str, str, str]]:
    """Return for each kind of quantity how many are within, the largest ratios, and which is the farthest."""
    rows = []
    for kind in dict.fromkeys(one.kind for one in report.quantities):
        members = [one for one in report.quantities if one.kind == kind]
        worst = max(members, key=lambda one: max(one.ratios))
        rms, most = (max(one.ratios[n] for one in members) for n in (0, 1))
        within = sum(one.matches for one in members)
        rows.append(
            (
                kind,
                f"{within} of {len(members)}",
                _ratio(rms),
                _ratio(most),
                f"{worst.probe} {worst.name}",
            )
        )
    return rows


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"


def outside_text(one: Quantity) -> str:
    """Say what is wrong with a quantity."""
    where = f"{one.probe} {one.name}"
    if one.problem:
        return f"{where}: {one.problem}"
    if one.tolerance and one.errors:
        return f"{where}: off by {max(found.worst for found in one.errors):.3g}, more than the tolerance"
    rms, most = one.ratios
    return f"{where}: error is {rms:.3g} times PyTorch's own (max {most:.3g})"


def generation_text(one: Generation) -> str:
    """Say whether the generated tokens are the same, or where they part."""
    name = f"tokens   {one.name}: "
    if one.mismatches:
        fork = one.mismatches[0]
        return (
            f"{name}differ in row {fork.row} at step {fork.step}: source {fork.source}, target {fork.target},\n"
            f"         {fork.gap:.2g} apart where rounding alone makes {fork.noise:.2g}"
        )
    ties = f"; {len(one.ties)} ties" if one.ties else ""
    rows = f"{one.rows} row{'s' if one.rows > 1 else ''}"
    return f"{name}{one.compared} generated in {rows}: the same, one by one{ties}"


def outputs_json(report: ForwardReport, minimum: float | None = None) -> dict[str, Json]:
    """Return the outputs half of a verification for --json."""
    return {
        "match": report.matches,
        "quantities": [_quantity_json(one) for one in report.quantities],
        "generations": [_generation_json(one) for one in report.generations],
        "texts": [list(one) for one in report.texts],
        "loading": list(report.loading),
        "coverage": coverage_json(report.coverage, minimum),
        "reference": "a temporary conversion of the source"
        if len(report.answers) > 2
        else "the source"
        if report.reference is report.source
        else "the target",
        "versions": {
            name: version for one in report.answers for name, version in one.versions.items()
        },
        "settings": {one.framework: dict(one.settings) for one in report.answers},
        "seconds": {one.framework: one.seconds for one in report.answers},
    }


def _quantity_json(one: Quantity) -> dict[str, Json]:
    rms, most = one.ratios
    return {
        "probe": one.probe,
        "name": one.name,
        "kind": one.kind,
        "part": one.part,
        "layer": one.layer,
        "match": one.matches,
        "rms_ratio": _number(rms),
        "max_ratio": _number(most),
        "source": _error_json(one.source),
        "target": _error_json(one.target),
        "yardstick": _error_json(one.own),
        "problem": one.problem,
    }


def _error_json(error: Difference | None) -> dict[str, Json] | None:
    if error is None:
        return None
    return {
        "rms": _number(error.rms),
        "max": _number(error.worst),
        "compared": error.compared,
        "nans": error.nans,
    }


def _generation_json(one: Generation) -> dict[str, Json]:
    return {
        "name": one.name,
        "match": one.matches,
        "settings": dict(one.settings),
        "rows": one.rows,
        "compared": one.compared,
        "source": [list(row) for row in one.source],
        "target": [list(row) for row in one.target],
        "ties": [_fork_json(fork) for fork in one.ties],
        "mismatches": [_fork_json(fork) for fork in one.mismatches],
    }


def _fork_json(fork: Fork) -> dict[str, Json]:
    return {
        "row": fork.row,
        "step": fork.step,
        "source": fork.source,
        "target": fork.target,
        "gap": _number(fork.gap),
        "noise": _number(fork.noise),
    }


def _number(value: float) -> Json:
    """Return a number, or None for what JSON has no number for."""
    return value if value == value and abs(value) != float("inf") else None
