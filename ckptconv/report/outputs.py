"""What running both models showed, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ckptconv.report.coverage import coverage_json, coverage_text
from ckptconv.report.text import PIPE, Screen, counted, one_line, prose, table
from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.compare.difference import Difference
    from ckptconv.run.report import ForwardReport
    from ckptconv.run.tokens import Fork, Generation
    from ckptconv.run.yardstick import Quantity, Tolerance


def outputs_text(
    report: ForwardReport, minimum: float | None = None, screen: Screen = PIPE
) -> Iterator[str]:
    """Return blocks: a line for each kind of output, what the class reported on loading, and what was generated.

    Args:
        report: what running both models showed.
        minimum: the coverage that is required [percent].
        screen: where the text is shown.
    """
    align = ("left", "right", "right", "right", "left")
    yield "\n".join(
        [
            table(kind_rows(report), kind_headers(report), align, screen),
            "",
            prose(legend(report), screen),
        ]
    )
    if report.loading:
        lines = (f"  {one_line(complaint)}" for complaint in report.loading)
        yield prose("\n".join(["The target's class reported while loading:", *lines]), screen)
    if report.generations:
        yield prose("\n".join(map(generation_text, report.generations)), screen)
    if report.coverage:
        yield coverage_text(report.coverage, minimum, screen)
    if report.texts:
        yield table(report.texts, ("text", "source", "target"), (), screen)


def kind_headers(report: ForwardReport) -> tuple[str, str, str, str, str]:
    """Return the headers of `kind_rows`: each ratio with its limit, or errors where a tolerance was chosen."""
    if _tolerance(report):
        return ("outputs", "passed", "largest\nerror", "\nlimit", "largest error at")
    rms, maximum = f"RMS ratio\n(limit {RMS_FACTOR:g})", f"max ratio\n(limit {MAX_FACTOR:g})"
    return ("outputs", "passed", rms, maximum, "largest error at")


def legend(report: ForwardReport) -> str:
    """Say what the figures of `kind_rows` are."""
    if tolerance := _tolerance(report):
        relative = (
            f" + {tolerance.rtol:g} x the largest value of the reference" if tolerance.rtol else ""
        )
        return f"limit: {tolerance.atol:g}{relative}, as --tolerance asks"
    return "ratio: error / PyTorch's own rounding error (float32 against float64)"


def _tolerance(report: ForwardReport) -> Tolerance | None:
    return next((quantity.tolerance for quantity in report.quantities if quantity.tolerance), None)


def kind_rows(report: ForwardReport) -> list[tuple[str, str, str, str, str]]:
    """Return for each kind of output how many passed, the largest figures, and where they are."""
    rows = []
    for kind in dict.fromkeys(quantity.kind for quantity in report.quantities):
        members = [quantity for quantity in report.quantities if quantity.kind == kind]
        passed = sum(quantity.matches for quantity in members)
        first, second, place = (_errors if _tolerance(report) else _ratios)(members)
        rows.append((kind, f"{passed}/{len(members)}", first, second, place))
    return rows


def _ratios(members: Sequence[Quantity]) -> tuple[str, str, str]:
    worst = max(members, key=lambda quantity: max(quantity.ratios))
    rms, maximum = (max(quantity.ratios[n] for quantity in members) for n in (0, 1))
    return _ratio(rms), _ratio(maximum), f"{worst.probe} {worst.name}"


def _errors(members: Sequence[Quantity]) -> tuple[str, str, str]:
    """Return the largest error over its limit of any member, that limit, and which it is."""

    def figures(quantity: Quantity) -> tuple[float, float]:
        assert quantity.tolerance
        largest = max((error.worst for error in quantity.errors), default=float("inf"))
        reference = quantity.own.reference_max if quantity.own else 0.0
        return largest, quantity.tolerance.atol + quantity.tolerance.rtol * reference

    def excess(quantity: Quantity) -> float:
        largest, limit = figures(quantity)
        return largest / limit if limit else largest

    worst = max(members, key=excess)
    largest, limit = figures(worst)
    return f"{largest:.2g}", f"{limit:.2g}", f"{worst.probe} {worst.name}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"


def outside_text(quantity: Quantity) -> str:
    """Say which output is beyond its limit, and by how much."""
    return f"{quantity.probe} {quantity.name}: {figures_text(quantity)}"


def figures_text(quantity: Quantity) -> str:
    """Return the error of an output with its limit, or why it cannot be compared."""
    if quantity.problem:
        return quantity.problem
    if quantity.tolerance and quantity.errors:
        largest, limit, _ = _errors([quantity])
        return f"largest error {largest} (limit {limit})"
    rms, maximum = quantity.ratios
    return (
        f"error / PyTorch's own: RMS {rms:.3g} (limit {RMS_FACTOR:g}), "
        f"max {maximum:.3g} (limit {MAX_FACTOR:g})"
    )


def generation_text(generation: Generation) -> str:
    """Say whether the generated tokens are identical, or where they diverge."""
    name = f"tokens   {generation.name}: "
    if generation.mismatches:
        fork = generation.mismatches[0]
        return (
            f"{name}row {fork.row} diverges at step {fork.step}: source {fork.source}, target {fork.target}; "
            f"the choices are {fork.gap:.2g} apart, rounding explains {fork.noise:.2g}"
        )
    ties = f"; {counted(len(generation.ties), 'tie')} within rounding" if generation.ties else ""
    rows = counted(generation.rows, "row")
    return f"{name}{counted(generation.compared, 'token')} in {rows} identical{ties}"


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
        "settings": {answer.runner: dict(answer.settings) for answer in report.answers},
        "seconds": {answer.runner: answer.seconds for answer in report.answers},
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
