"""What `verify` found, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptconv.report.diff import value_text
from ckptconv.report.html.blocks import (
    Cell,
    Column,
    Facts,
    Grid,
    Notes,
    Page,
    Section,
    Table,
    Tiles,
    Tone,
)
from ckptconv.report.html.outputs import environment, outputs_sections
from ckptconv.report.outputs import outside_text
from ckptconv.report.text import size
from ckptconv.report.verify import notices
from ckptconv.run.localization import Where
from ckptconv.verbs.verify import Verification, WeightsReport

COLUMNS = (
    Column("tensor", "name"),
    Column("part", shown="wide", choose=True),
    Column("dtype", shown="wide", choose=True),
    Column("shape", shown="wide"),
    Column("verdict", "verdict", choose=True),
    Column("change of RMS", "figure"),
    Column("largest change", "figure", shown="wide"),
    Column("how", shown="opened"),
    Column("comes from", shown="opened"),
    Column("elements", "count", shown="opened"),
    Column("differing", "count", shown="opened"),
)

MAX_CAUSES = 12
"""Tensors that are shown as the cause; the table has them all."""


def verification_page(result: Verification) -> Page:
    """Return a verification as a page."""
    what = "weights and outputs" if result.outputs else "weights"
    found = f"To blame: {result.where.verdict}." if result.where else f"The {what} are the same."
    if not result.covers:
        found += f" But the outputs looked at less than the {result.min_coverage:g} % that were asked for."
    said = f"{result.naming} {result.format} against {result.source_naming}, {what}. {found}"
    word, tone = _verdict(result)
    return Page("verify", result.pair, word, tone, said, tuple(_sections(result)))


def _verdict(result: Verification) -> tuple[str, Tone]:
    return ("MATCH", "good") if result.matches else ("MISMATCH", "bad")


def _sections(result: Verification) -> Iterator[Section]:
    said = (
        [Notes([("calm", "note", one) for one in notices(result)])] if any(notices(result)) else []
    )
    facts = Facts(
        [
            ("source", f"{result.source}\n{result.source_naming}"),
            ("target", f"{result.target}\n{result.naming} {result.format}"),
        ]
    )
    yield Section("Summary", (Tiles(list(_tiles(result))), facts, *said))
    if result.where:
        yield _where(result.where)
    if result.config:
        rows = [(one.key, value_text(one.first), value_text(one.second)) for one in result.config]
        yield Section(
            "Config",
            (Table(("key", "source", "target"), rows),),
            "Keys that change what is computed.",
        )
    if result.outputs:
        yield from outputs_sections(result.outputs)
    yield Section(
        "Weights",
        (_grid(result.weights),),
        "Every tensor of the target against what the tables make of the source, bit for bit.",
    )
    if result.outputs:
        yield environment(result.outputs)


def _tiles(result: Verification) -> Iterator[tuple[str, str]]:
    weights = result.weights
    right = weights.tensors - len(weights.differences)
    yield f"{right:,} of {weights.tensors + len(weights.problems):,}", "tensors right, bit for bit"
    yield size(weights.nbytes), "compared"
    if result.outputs:
        within = sum(one.matches for one in result.outputs.quantities)
        yield f"{within:,} of {len(result.outputs.quantities):,}", "quantities within the yardstick"
        compared = sum(one.compared for one in result.outputs.generations)
        yield f"{compared:,}", "generated tokens compared"


def _where(found: Where) -> Section:
    """Return what leads to the cause."""
    said: list[tuple[Tone, str, str]] = []
    if found.first:
        said.append(("bad", "first outside", outside_text(found.first)))
    shown = found.tensors[:MAX_CAUSES]
    said += [("bad", one.relation.kind, f"{one.name}\n{one}") for one in shown]
    if len(found.tensors) > len(shown):
        said.append(
            ("calm", "more", f"{len(found.tensors) - len(shown):,} others that differ; see Weights")
        )
    if found.later:
        said.append(("calm", "later", f"{found.later} tensors that differ come after it"))
    return Section("Where", (Notes(said),), f"To blame: {found.verdict}.")


def _grid(report: WeightsReport) -> Grid:
    differing = {one.name: one for one in report.differences}
    rows: list[Sequence[Cell]] = [
        (one.name, "", "", "", one.kind, None, None, one.detail, "", None, None)
        for one in report.problems
    ]
    for move in report.moves:
        spec, found = move.target, differing.get(move.target.name)
        figures = found.relation.figures if found else None
        moved = (
            (figures.relative, figures.worst) if figures else (None, None) if found else (0.0, 0.0)
        )
        rows.append(
            (
                spec.name,
                move.tensor.module.part,
                spec.dtype,
                " x ".join(map(str, spec.shape)) or "scalar",
                found.relation.kind if found else "equal",
                *moved,
                str(found.relation) if found else "every bit is the source's",
                move.source.spec.name if move.source else "made",
                spec.numel,
                figures.differing if figures else 0,
            )
        )
    return Grid("tensors", COLUMNS, rows, sort="change of RMS")
