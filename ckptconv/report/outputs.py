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
        lines = (f"  {one_line(complaint)}" for complaint in report.loading)
        yield "\n".join(["the class that loaded the target complained:", *lines])
    if report.generations:
        yield "\n".join(generation_text(generation) for generation in report.generations)
    if report.coverage:
        yield coverage_text(report.coverage, minimum)
    if report.texts:
        yield table(report.texts, ("text", "source", "target"))


def kind_rows(report: ForwardReport) -> list[tuple[str, str, str, str, str]]:
    """Return for each kind of quantity how many are within, the largest ratios, and which is the farthest."""
    rows = []
    for kind in dict.fromkeys(quantity.kind for quantity in report.quantities):
        members = [quantity for quantity in report.quantities if quantity.kind == kind]
        worst = max(members, key=lambda quantity: max(quantity.ratios))
        rms, maximum = (max(quantity.ratios[n] for quantity in members) for n in (0, 1))
        within = sum(quantity.matches for quantity in members)
        rows.append(
            (
                kind,
                f"{within} of {len(members)}",
                _ratio(rms),
                _ratio(maximum),
                f"{worst.probe} {worst.name}",
            )
        )
    return rows


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"


def outside_text(quantity: Quantity) -> str:
    """Say what is wrong with a quantity."""
    where = f"{quantity.probe} {quantity.name}"
    if quantity.problem:
        return f"{where}: {quantity.problem}"
    if quantity.tolerance and quantity.errors:
        return f"{where}: off by {max(error.worst for error in quantity.errors):.3g}, more than the tolerance"
    rms, maximum = quantity.ratios
    return f"{where}: error is {rms:.3g} times PyTorch's own (max {maximum:.3g})"


def generation_text(generation: Generation) -> str:
    """Say whether the generated tokens are the same, or where they part."""
    name = f"tokens   {generation.name}: "
    if generation.mismatches:
        fork = generation.mismatches[0]
        return (
            f"{name}differ in row {fork.row} at step {fork.step}: source {fork.source}, target {fork.target},\n"
            f"         {fork.gap:.2g} apart where rounding alone makes {fork.noise:.2g}"
        )
    ties = f"; {len(generation.ties)} ties" if generation.ties else ""
    rows = f"{generation.rows} row{'s' if generation.rows > 1 else ''}"
    return f"{name}{generation.compared} generated in {rows}: the same, one by one{ties}"


def outputs_json(report: ForwardReport, minimum: float | None = None) -> dict[str, Json]:
    """Return the outputs half of a verification for --json."""
    return {
        "match": report.matches,
        "quantities": [_quantity_json(quantity) for quantity in report.quantities],
        "generations": [_generation_json(generation) for generation in report.generations],
        "texts": [list(texts) for texts in report.texts],
        "loading": list(report.loading),
        "coverage": coverage_json(report.coverage, minimum),
        "reference": "a temporary conversion of the source"
        if len(report.answers) > 2
        else "the source"
        if report.reference is report.source
        else "the target",
        "versions": {
            name: version for answer in report.answers for name, version in answer.versions.items()
        },
        "settings": {answer.framework: dict(answer.settings) for answer in report.answers},
        "seconds": {answer.framework: answer.seconds for answer in report.answers},
    }


def _quantity_json(quantity: Quantity) -> dict[str, Json]:
    rms, maximum = quantity.ratios
    return {
        "probe": quantity.probe,
        "name": quantity.name,
        "kind": quantity.kind,
        "part": quantity.part,
        "layer": quantity.layer,
        "match": quantity.matches,
        "rms_ratio": _number(rms),
        "max_ratio": _number(maximum),
        "source": _error_json(quantity.source),
        "target": _error_json(quantity.target),
        "yardstick": _error_json(quantity.own),
        "problem": quantity.problem,
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


def _generation_json(generation: Generation) -> dict[str, Json]:
    return {
        "name": generation.name,
        "match": generation.matches,
        "settings": dict(generation.settings),
        "rows": generation.rows,
        "compared": generation.compared,
        "source": [list(row) for row in generation.source],
        "target": [list(row) for row in generation.target],
        "ties": [_fork_json(fork) for fork in generation.ties],
        "mismatches": [_fork_json(fork) for fork in generation.mismatches],
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
