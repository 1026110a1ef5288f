"""What `verify` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptconv.report.cause import cause_json, cause_text
from ckptconv.report.coverage import percent_text
from ckptconv.report.documents import stamped
from ckptconv.report.outputs import outputs_json, outputs_text
from ckptconv.report.relations import relation_json, relation_lines
from ckptconv.report.text import (
    MAX_PROBLEMS,
    PIPE,
    Screen,
    closing,
    counted,
    printable,
    problems_json,
    size,
)

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.verify import Verification, WeightsReport

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
