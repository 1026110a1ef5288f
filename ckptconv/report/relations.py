"""How tensors differ, in lines of text and as JSON: the same for `diff` and for `verify`."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from ckptconv.report.text import PIPE, Screen, finite, prose

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.compare.stream import Figures, Relation


def relation_lines(
    first: str, second: str, relation: Relation, where: str = "in B", screen: Screen = PIPE
) -> list[str]:
    """Return a tensor that differs: its names in both spellings where they are two, and how, indented below.

    Args: where: what the second checkpoint is called. screen: where the lines are shown.
    """
    names = [
        first or second,
        *([f"  {where}: {second}"] if first and second and first != second else []),
    ]
    return [
        *names,
        *prose(f"  {relation_text(relation)}", screen).split("\n"),
    ]


def relation_text(relation: Relation) -> str:
    """Return how a tensor differs, and by how much."""
    figures = f"; {figures_text(relation.figures)}" if relation.figures else ""
    return f"{relation}{figures}"


def figures_text(figures: Figures) -> str:
    """Return how many elements differ, and by how much of what was expected."""
    share = (
        "all"
        if figures.differing == figures.numel > 1
        else f"{figures.differing} of {figures.numel}"
    )
    maximum = f"by at most {figures.worst:.2g}"
    relative = f", {number_text(figures.relative)} of the RMS" if figures.rms else ""
    return f"{share} element{'s' if figures.numel > 1 else ''} differ{relative}, {maximum}"


def number_text(value: float) -> str:
    """Return a relative change: 0, 0.0012, 1.4."""
    return f"{value:.2g}" if isfinite(value) else "infinite"


def relation_json(relation: Relation) -> dict[str, Json]:
    """Return a relation with its figures; null for what JSON has no number for."""
    figures = relation.figures
    return {
        "kind": relation.kind,
        "detail": relation.detail,
        **(figures_json(figures) if figures else {}),
    }


def figures_json(figures: Figures) -> dict[str, Json]:
    """Return figures: counts, the largest difference, RMS, relative RMS and the cosine."""
    return {
        "differing": figures.differing,
        "elements": figures.numel,
        "worst": finite(figures.worst),
        "rms": finite(figures.rms),
        "reference_rms": finite(figures.reference_rms),
        "relative": finite(figures.relative),
        "cosine": finite(figures.cosine),
    }
