"""What `verify` found, as text and as JSON: the verdict, outputs, their coverage, and where a mismatch comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ckptconv.report.relations import relation_json, relation_lines
from ckptconv.report.stamp import stamped
from ckptconv.report.text import (
    MAX_PROBLEMS,
    PIPE,
    Screen,
    closing,
    counted,
    finite,
    one_line,
    printable,
    problems_json,
    prose,
    size,
    table,
)

if TYPE_CHECKING:
    from ckptconv.base.errors import Problem
    from ckptconv.base.strict_json import Json
    from ckptconv.compare.configs import ConfigDifference
    from ckptconv.run.forward import Coverage, ForwardReport, TensorCoverage
    from ckptconv.run.localization import Where
    from ckptconv.run.tolerance import Tolerance
    from ckptconv.run.yardstick import Difference, Fork, Generation, Quantity
    from ckptconv.verbs.verify import Verification, WeightsReport


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
    from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR

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
    place = place_text(quantity.name)
    where = f"{quantity.probe} {quantity.name}{f' ({place})' if place else ''}"
    return f"{where}: {figures_text(quantity)}"


PLACE = re.compile(r"(encoder|decoder)\.(\d+)(\.attention|\.cross)?")
KINDS = {None: "output", ".attention": "self-attention", ".cross": "cross-attention"}


def place_text(name: str) -> str:
    """Return which layer an output is of, counted as names of tensors count: `decoder.2` is the output of layer 1.

    Outputs count from what goes into the first layer. Nothing is returned for those that belong to no layer.
    """
    match = PLACE.fullmatch(name)
    if match is None:
        return ""
    side, number, kind = match.groups()
    if number == "0":
        return f"input of {side} layer 0"
    return f"{KINDS[kind]} of {side} layer {int(number) - 1}"


def figures_text(quantity: Quantity) -> str:
    """Return the error of an output with its limit, or why it cannot be compared."""
    if quantity.problem:
        return quantity.problem
    if quantity.tolerance and quantity.errors:
        largest, limit, _ = _errors([quantity])
        return f"largest error {largest} (limit {limit})"
    from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR

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
        "rms_ratio": finite(rms),
        "max_ratio": finite(maximum),
        "source": _error_json(quantity.source),
        "target": _error_json(quantity.target),
        "yardstick": _error_json(quantity.own),
        "problem": quantity.problem,
    }


def _error_json(error: Difference | None) -> dict[str, Json] | None:
    if error is None:
        return None
    return {
        "rms": finite(error.rms),
        "max": finite(error.worst),
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
        "gap": finite(fork.gap),
        "noise": finite(fork.noise),
    }


MAX_LINES = 12
MAX_CONFIG = 3
"""Config keys that are shown; --json has them all."""
VALUE_COLUMNS = 24
INDENT = "  "


def cause_sentence(where: Where, problems: Sequence[Problem] = ()) -> str:
    """Return in one sentence what makes the target differ, with the first tensor or config key by name.

    Args:
        where: what leads from a difference to its cause.
        problems: tensors that the target lacks, has too many, or has in another shape.
    """
    sentence = _sentence(where, problems)
    if where.tensors:
        tensor = where.tensors[0]
        alone = len(where.tensors) + where.later == 1 and not where.config
        joint = ": " if alone else "; first: "
        return one_line(f"{sentence}{joint}{tensor.source or tensor.name} ({tensor.relation.kind})")
    if where.config:
        key = where.config[0]
        joint = "; first: " if len(where.config) > 1 else "; "
        return one_line(
            f"{sentence}{joint}{key.key}, {setting_text(key.first)} -> {setting_text(key.second)}"
        )
    return one_line(sentence)


def _sentence(where: Where, problems: Sequence[Problem]) -> str:
    """Return what makes the target differ, after `cause:` or `likely cause:`."""
    keys = counted(len(where.config), "config key")
    if where.equal_weights and where.config:
        return f"cause: {keys} {_differ(len(where.config))}; the weights are identical"
    if where.equal_weights:
        return "likely cause: the target framework's class; the weights and all relevant config keys are identical"
    if where.tensors:
        count = len(where.tensors) + where.later
        also = f"; {keys} {_differ(len(where.config))} too" if where.config else ""
        if not where.later:
            return f"cause: {counted(count, 'tensor')} {_differ(count)}{also}"
        explains = "explains" if len(where.tensors) == 1 else "explain"
        return f"cause: {len(where.tensors)} of the {count} tensors that differ {explains} it{also}"
    if not where.later:
        return f"cause: {_problems_sentence(problems)}"
    culprit = f"{keys} that differ" if where.config else "the target framework's class"
    return f"likely cause: {culprit}; the first output beyond its limit does not use the tensors that differ"


def _differ(count: int) -> str:
    return "differs" if count == 1 else "differ"


def _problems_sentence(problems: Sequence[Problem]) -> str:
    """Return what is wrong with names and shapes, the first tensor of each kind by name."""
    texts = {
        "missing": "missing from the target",
        "unexpected": "in the target but not in the source's model",
        "shape": "of another shape than expected",
        "dtype": "of a dtype that cannot be compared",
        "not equal": "different from the source",
    }
    clauses = []
    for kind in dict.fromkeys(problem.kind for problem in problems):
        names = [problem.name for problem in problems if problem.kind == kind]
        verb = "is" if len(names) == 1 else "are"
        rest = ", ..." if len(names) > 1 else ""
        clauses.append(
            f"{counted(len(names), 'tensor')} {verb} {texts.get(kind, kind)}: {names[0]}{rest}"
        )
    return "; ".join(clauses) or "the tensors are not those of the source"


def cause_text(where: Where, problems: Sequence[Problem] = (), screen: Screen = PIPE) -> str:
    """Return the cause, the config keys that differ, and as many of the tensors as fit."""
    head = [_sentence(where, problems), *_config_lines(where.config)]
    if where.first:
        head.append(f"{INDENT}first output beyond its limit: {outside_text(where.first)}")
    lines = prose("\n".join(map(one_line, head)), screen).split("\n")
    if where.first:
        lines += _tensor_lines(where, MAX_LINES - len(lines), screen)
    return "\n".join(lines)


def _config_lines(config: tuple[ConfigDifference, ...]) -> Iterator[str]:
    for key in config[:MAX_CONFIG]:
        yield f"{INDENT}{key.key}: {setting_text(key.first)} in the source, {setting_text(key.second)} in the target"
    if len(config) > MAX_CONFIG:
        yield f"{INDENT}... and {len(config) - MAX_CONFIG} more keys (--json lists them all)"


def _tensor_lines(where: Where, room: int, screen: Screen) -> list[str]:
    """Return the tensors behind the first output, those nearest to the inputs first; the weights' part has figures."""
    count = len(where.tensors)
    lines: list[str] = []
    for number, tensor in enumerate(where.tensors):
        relation = replace(tensor.relation, figures=None)
        block = relation_lines(tensor.source, tensor.name, relation, "target", screen)
        block = [f"{INDENT}{one_line(line)}" for line in block]
        if len(lines) + len(block) + (number + 1 < count) > room:
            return [*lines, f"{INDENT}... and {count - number} more (--json lists them all)"]
        lines += block
    return lines


def setting_text(value: Json) -> str:
    """Return a config's value on one short line."""
    text = json.dumps(value) if value is not None else "not set"
    return text if len(text) <= VALUE_COLUMNS else f"{text[: VALUE_COLUMNS - 3]}..."


def cause_json(where: Where | None) -> dict[str, Json] | None:
    """Return the same for --json, with every tensor and every key; None for a match."""
    if where is None:
        return None
    return {
        "verdict": where.verdict,
        "equal_weights": where.equal_weights,
        "first": _first_json(where),
        "tensors": [
            {"name": tensor.name, "source": tensor.source, **relation_json(tensor.relation)}
            for tensor in where.tensors
        ],
        "later": where.later,
        "config": [
            {"key": key.key, "source": key.first, "target": key.second} for key in where.config
        ],
    }


def _first_json(where: Where) -> dict[str, Json] | None:
    if where.first is None:
        return None
    rms, maximum = map(finite, where.first.ratios)
    return {
        "probe": where.first.probe,
        "name": where.first.name,
        "rms_ratio": rms,
        "max_ratio": maximum,
    }


MAX_DIFFERENCES = 12
"""Tensors that differ, shown as text in up to three lines each; --json has them all."""


def verification_text(result: Verification, screen: Screen = PIPE) -> str:
    """Return the cause of a mismatch, the evidence and, on the last line, the verdict."""
    blocks = []
    if result.where and (result.outputs or result.config):  # else the weights say all of it
        blocks.append(cause_text(result.where, result.weights.problems, screen))
    blocks.append(_weights_text(result.weights, screen))
    if result.outputs:
        blocks += list(outputs_text(result.outputs, result.min_coverage, screen))
    blocks.append(closing(verdict_text(result), screen))
    return printable("\n\n".join(blocks))


def verdict(result: Verification) -> str:
    """Return the verdict in a word or two."""
    if result.matches:
        return "match"
    return "not proven" if result.same else "mismatch"


def verdict_text(result: Verification) -> str:
    """Return the verdict, and what it is about, in one sentence."""
    extent = "weights and outputs" if result.outputs else "weights"
    against = "PyTorch" if result.source_naming == "pytorch" else result.source_naming
    about = f"{result.pair}, {result.naming} {result.format} against {against}, {extent}"
    if verdict(result) == "not proven":
        coverage = result.outputs.coverage if result.outputs else None
        share = percent_text(coverage.percent) if coverage else "not measured"
        about = f"coverage {share}, required {result.min_coverage:g} %; no difference in {extent} of {about}"
        about = about.removesuffix(f", {extent}")
    return f"{verdict(result).upper()}: {about}"


def notices(result: Verification) -> Iterator[str]:
    """Return what the user should know beside the verdict."""
    yield from result.weights.notices
    if result.outputs:
        yield from result.outputs.notices


def _weights_text(report: WeightsReport, screen: Screen) -> str:
    if report.matches:
        extent = f"{counted(report.tensors, 'tensor')}, {size(report.nbytes)}"
        return f"weights  {extent}: identical to the source, bit for bit"
    differing = len(report.differences) + sum(
        problem.kind == "not equal" for problem in report.problems
    )
    lines = [f"weights  {differing} of {report.tensors} tensors differ"]
    differences = report.differences[:MAX_DIFFERENCES]
    problems = report.problems[:MAX_PROBLEMS]
    for difference in differences:
        lines += relation_lines(
            difference.source, difference.name, difference.relation, "target", screen
        )
    lines += [f"  {problem}" for problem in problems]
    hidden = len(report.differences) + len(report.problems) - len(differences) - len(problems)
    if hidden > 0:
        lines.append(f"  ... and {hidden} more (--json lists them all)")
    return "\n".join(lines)


def verification_json(result: Verification) -> dict[str, Json]:
    """Return a verification for --json."""
    weights = result.weights
    body: dict[str, Json] = {
        "verdict": verdict(result),
        "source": str(result.source),
        "target": str(result.target),
        "pair": result.pair,
        "source_dialect": result.source_naming,
        "dialect": result.naming,
        "format": result.format,
        "weights": {
            "match": weights.matches,
            "tensors": weights.tensors,
            "bytes": weights.nbytes,
            "differences": [
                {
                    "name": difference.name,
                    "source": difference.source,
                    **relation_json(difference.relation),
                }
                for difference in weights.differences
            ],
            "problems": problems_json(weights.problems),
        },
        "config": [
            {"key": key.key, "source": key.first, "target": key.second} for key in result.config
        ],
        "outputs": outputs_json(result.outputs, result.min_coverage) if result.outputs else None,
        "where": cause_json(result.where),
        "notices": list(notices(result)),
    }
    return stamped("verification", body)
