"""What `verify` checked, case by case: the common ground of JUnit and of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptconv.report.outputs import generation_text, outside_text
from ckptconv.report.text import size

if TYPE_CHECKING:
    from ckptconv.run.report import ForwardReport
    from ckptconv.verbs.verify import Verification


@dataclass(frozen=True, slots=True)
class Case:
    """One check."""

    part: str
    """weights, config, encoder, decoder, tokens, texts, loading or coverage."""
    name: str
    failure: str = ""
    """What is wrong, the first line by itself; empty where nothing is."""
    figures: str = ""
    """Figures worth keeping of what is right."""


def cases(result: Verification) -> Iterator[Case]:
    """Return every check: the tensors that differ, or all at once; then one for each quantity and part."""
    yield from _weights(result)
    if not result.config:
        yield Case("config", "every key that matters")
    for key in result.config:
        yield Case("config", key.key, f"{key.first!r} in the source, {key.second!r} in the target")
    if result.outputs:
        yield from _outputs(result.outputs)
    if result.min_coverage is not None:
        yield _coverage(result)


def _weights(result: Verification) -> Iterator[Case]:
    weights = result.weights
    if weights.matches:
        yield Case(
            "weights",
            f"all {weights.tensors} tensors",
            figures=f"{size(weights.nbytes)}, every bit",
        )
    elif not weights.differences and not weights.problems:
        yield Case("weights", "all tensors", "nothing was compared")
    for difference in weights.differences:
        yield Case("weights", difference.name, str(difference))
    for problem in weights.problems:
        yield Case(
            "weights",
            problem.name,
            f"{problem.kind}{f': {problem.detail}' if problem.detail else ''}",
        )


def _outputs(report: ForwardReport) -> Iterator[Case]:
    for quantity in report.quantities:
        rms, maximum = quantity.ratios
        figures = f"error over yardstick: rms {rms:.3g}, max {maximum:.3g}"
        yield Case(
            quantity.part,
            f"{quantity.probe} {quantity.name}",
            "" if quantity.matches else outside_text(quantity),
            figures,
        )
    for generation in report.generations:
        text = " ".join(generation_text(generation).split())
        yield Case("tokens", generation.name, "" if generation.matches else text, text)
    for text, source, target in report.texts:
        yield Case(
            "texts",
            text,
            "" if source == target else f"source {source!r}, target {target!r}",
            source,
        )
    for complaint in report.loading:
        yield Case("loading", complaint, "the class that loaded the target complained")


def _coverage(result: Verification) -> Case:
    coverage = result.outputs.coverage if result.outputs else None
    percent = (
        f"{coverage.percent:.2f} % of the weights reach the outputs"
        if coverage
        else "coverage was not measured"
    )
    return Case(
        "coverage", f"at least {result.min_coverage:g} %", "" if result.covers else percent, percent
    )
