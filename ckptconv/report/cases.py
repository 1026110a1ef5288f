"""What `verify` checked, case by case: the common ground of JUnit and of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptconv.report.relations import relation_text
from ckptconv.report.text import size
from ckptconv.report.verify import figures_text, generation_text, setting_text

if TYPE_CHECKING:
    from ckptconv.run.forward import ForwardReport
    from ckptconv.verbs.verify import Verification


@dataclass(frozen=True, slots=True)
class JUnitCase:
    """One check."""

    part: str
    """weights, config, encoder, decoder, tokens, texts, loading, frameworks or coverage."""
    name: str
    failure: str = ""
    """What is wrong, the first line by itself; empty where nothing is."""
    figures: str = ""
    """Figures worth keeping of what is right."""
    seconds: float = 0.0
    """How long it took, where that was measured."""


def cases(result: Verification) -> Iterator[JUnitCase]:
    """Return every check: the tensors that differ, or all at once; then one for each quantity and part."""
    yield from _weights(result)
    if not result.config:
        yield JUnitCase("config", "all relevant keys")
    for key in result.config:
        source, target = setting_text(key.first), setting_text(key.second)
        yield JUnitCase("config", key.key, f"{source} in the source, {target} in the target")
    if result.outputs:
        yield from _outputs(result.outputs)
    if result.min_coverage is not None:
        yield _coverage(result)


def _weights(result: Verification) -> Iterator[JUnitCase]:
    weights = result.weights
    if weights.matches:
        yield JUnitCase(
            "weights",
            f"all {weights.tensors} tensors",
            figures=f"{size(weights.nbytes)}, identical bit for bit",
        )
    elif not weights.differences and not weights.problems:
        yield JUnitCase("weights", "all tensors", "nothing was compared")
    for difference in weights.differences:
        yield JUnitCase("weights", difference.name, relation_text(difference.relation))
    for problem in weights.problems:
        yield JUnitCase(
            "weights",
            problem.name,
            f"{problem.kind}{f': {problem.detail}' if problem.detail else ''}",
        )


def _outputs(report: ForwardReport) -> Iterator[JUnitCase]:
    for quantity in report.quantities:
        name, figures = f"{quantity.probe} {quantity.name}", figures_text(quantity)
        yield JUnitCase(quantity.part, name, "" if quantity.matches else figures, figures)
    for generation in report.generations:
        text = " ".join(generation_text(generation).split())
        yield JUnitCase("tokens", generation.name, "" if generation.matches else text, text)
    for text, source, target in report.texts:
        yield JUnitCase(
            "texts",
            text,
            f"source {source!r}, target {target!r}" if text in report.differing_texts else "",
            source,
        )
    for complaint in report.loading:
        yield JUnitCase("loading", complaint, "reported by the target's class while loading")
    for answer in report.answers:
        versions = ", ".join(f"{name} {version}" for name, version in answer.versions.items())
        yield JUnitCase("frameworks", answer.runner, figures=versions, seconds=answer.seconds)


def _coverage(result: Verification) -> JUnitCase:
    coverage = result.outputs.coverage if result.outputs else None
    percent = (
        f"{coverage.percent:.2f} % of the weights influence the outputs"
        if coverage
        else "coverage was not measured"
    )
    return JUnitCase(
        "coverage", f"at least {result.min_coverage:g} %", "" if result.covers else percent, percent
    )
