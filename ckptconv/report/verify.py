"""What `verify` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptconv.report.outputs import outputs_json, outputs_text
from ckptconv.report.relations import relation_json, relation_lines
from ckptconv.report.text import MAX_PROBLEMS, printable, problems_json, size
from ckptconv.report.where import where_json, where_text

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.verify import Verification, WeightsReport

MAX_DIFFERENCES = 12
"""Tensors that differ, shown as text in up to three lines each; --json has them all."""


def verification_text(result: Verification) -> str:
    """Return the evidence and, on the last line, the verdict."""
    blocks = [_weights_text(result.weights)]
    if result.outputs:
        blocks += list(outputs_text(result.outputs, result.min_coverage))
    if result.where and (
        result.outputs or result.config
    ):  # what the weights alone show is said above
        blocks.append(where_text(result.where))
    verdict = "MATCH" if result.matches else "MISMATCH"
    how = "weights and outputs" if result.outputs else "weights"
    against = "PyTorch" if result.source_naming == "pytorch" else result.source_naming
    blocks.append(
        f"{verdict}: {result.pair}, {result.naming} {result.format} against {against}, {how}"
    )
    return printable("\n\n".join(blocks))


def notices(result: Verification) -> Iterator[str]:
    """Return what the user should know beside the verdict."""
    yield from result.weights.notices
    if result.outputs:
        yield from result.outputs.notices


def _weights_text(report: WeightsReport) -> str:
    if report.matches:
        return (
            f"weights  {report.tensors} tensors, {size(report.nbytes)}: every bit is the source's"
        )
    differing = len(report.differences) + sum(
        problem.kind == "not equal" for problem in report.problems
    )
    lines = [f"weights  {differing} of {report.tensors} tensors differ"]
    shown, problems = report.differences[:MAX_DIFFERENCES], report.problems[:MAX_PROBLEMS]
    for difference in shown:
        lines += relation_lines(difference.source, difference.name, difference.relation, "target")
    lines += [f"  {problem}" for problem in problems]
    more = len(report.differences) + len(report.problems) - len(shown) - len(problems)
    return "\n".join(
        [*lines, *([f"  ... and {more} more (--json lists them all)"] if more > 0 else [])]
    )


def verification_json(result: Verification) -> dict[str, Json]:
    """Return a verification for --json."""
    weights = result.weights
    return {
        "verdict": "match" if result.matches else "mismatch",
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
        "where": where_json(result.where),
        "notices": list(notices(result)),
    }
