"""What `verify` found, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

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
from ckptconv.report.html.words import token_words
from ckptconv.report.text import counted, size
from ckptconv.report.verify import cause_sentence, notices, outside_text, verdict, verdict_text
from ckptconv.run.forward import is_routine
from ckptconv.run.localization import Where
from ckptconv.run.phases import NAMES
from ckptconv.verbs.verify import Verification, WeightsReport

COLUMNS = (
    Column("tensor", "name"),
    Column("part", visible="wide", choose=True),
    Column("dtype", visible="wide", choose=True),
    Column("shape", visible="wide"),
    Column("verdict", "verdict", choose=True),
    Column("change of RMS", "figure"),
    Column("largest change", "figure", visible="wide"),
    Column("how", visible="opened"),
    Column("comes from", visible="opened"),
    Column("elements", "count", visible="opened"),
    Column("differing", "count", visible="opened"),
)

MAX_CAUSES = 12
"""Tensors that are nearest as the cause; the table has them all."""


def verification_page(result: Verification) -> Page:
    """Return a verification as a page."""
    tone: Tone = "good" if result.matches else "bad"
    if result.where:
        summary = cause_sentence(result.where, result.weights.problems)
        summary = f"{summary[0].upper()}{summary[1:]}."
    elif result.matches:
        extent = "weights and outputs" if result.outputs else "weights"
        summary = f"The {extent} are the same."
    else:
        summary = f"{verdict_text(result).partition(': ')[2]}."
    word = verdict(result).capitalize()
    sides = (_framework(result.naming), _framework(result.source_naming))
    subject = f"{result.target} ({sides[0]}) against {result.source} ({sides[1]})"
    return Page("verify", subject, word, tone, summary, tuple(_sections(result)))


def _framework(naming: str) -> str:
    return NAMES.get(naming, naming)


def _sections(result: Verification) -> Iterator[Section]:
    telling = [notice for notice in notices(result) if not is_routine(notice)]
    remarks = [Notes([("calm", "note", notice) for notice in telling])] if telling else []
    facts = Facts(
        [
            ("source", f"{result.source}\n{_framework(result.source_naming)}"),
            ("target", f"{result.target}\n{_framework(result.naming)}, {result.format}"),
            ("model", result.pair.replace("->", "\N{RIGHTWARDS ARROW}")),
        ]
    )
    yield Section("Summary", (Tiles(list(_tiles(result))), facts, *remarks))
    if result.where:
        yield _where(result, result.where)
    if result.config:
        rows = [(key.key, value_text(key.first), value_text(key.second)) for key in result.config]
        yield Section(
            "Config",
            (Table(("key", "source", "target"), rows),),
            "Keys that change the outputs.",
        )
    weights = Section(
        "Weights",
        (_grid(result.weights),),
        "Every tensor of the target, compared bit for bit with the converted source.",
    )
    words = token_words(result.source, result.target) if result.outputs else {}
    outputs = list(outputs_sections(result.outputs, words)) if result.outputs else []
    yield from outputs[:1]
    if not result.weights.matches:  # the cause stands before what follows from it
        yield weights
    yield from outputs[1:]
    if result.weights.matches:
        yield weights
    if result.outputs:
        yield environment(result.outputs)


def _tiles(result: Verification) -> Iterator[tuple[str, str]]:
    weights = result.weights
    right = weights.tensors - len(weights.differences)
    yield (
        f"{right:,} of {weights.tensors + len(weights.problems):,}",
        "tensors identical, bit for bit",
    )
    yield size(weights.nbytes), "compared"
    if result.outputs:
        within = sum(quantity.matches for quantity in result.outputs.quantities)
        yield f"{within:,} of {len(result.outputs.quantities):,}", "outputs within their limits"
        compared = sum(generation.compared for generation in result.outputs.generations)
        yield f"{compared:,}", "generated tokens compared"


def _where(result: Verification, where: Where) -> Section:
    """Return what leads to the cause, and what shows more of it."""
    causes: list[tuple[Tone, str, str]] = []
    if where.first:
        causes.append(("bad", "first output beyond its limit", outside_text(where.first)))
    nearest = where.tensors[:MAX_CAUSES]
    for tensor in nearest:
        names = (tensor.source, f"target: {tensor.name}") if tensor.source else (tensor.name,)
        causes.append(("bad", tensor.relation.kind, "\n".join((*names, str(tensor)))))
    if len(where.tensors) > len(nearest):
        causes.append(
            (
                "calm",
                "more",
                f"{len(where.tensors) - len(nearest):,} more tensors differ; see Weights",
            )
        )
    if where.later:
        verb = "differs is" if where.later == 1 else "differ are"
        causes.append(
            ("calm", "later", f"{counted(where.later, 'tensor')} that {verb} used only after it")
        )
    if where.tensors and not result.source.is_file():  # a trace has no weights to be compared
        sides = f"{quote(str(result.source))} {quote(str(result.target))}"
        causes.append(("calm", "next", f"`ckptconv diff {sides} --html diff.html`"))
    return Section(
        "Cause",
        (Notes(causes),),
        "From the first output beyond its limit to the weights behind it.",
    )


def _grid(report: WeightsReport) -> Grid:
    differing = {difference.name: difference for difference in report.differences}
    rows: list[Sequence[Cell]] = [
        (problem.name, "", "", "", problem.kind, None, None, problem.detail, "", None, None)
        for problem in report.problems
    ]
    for move in report.moves:
        spec, difference = move.target, differing.get(move.target.name)
        figures = difference.relation.figures if difference else None
        change = (
            (figures.relative, figures.worst)
            if figures
            else (None, None)
            if difference
            else (0.0, 0.0)
        )
        rows.append(
            (
                spec.name,
                move.tensor.module.part,
                spec.dtype,
                " x ".join(map(str, spec.shape)) or "scalar",
                difference.relation.kind if difference else "equal",
                *change,
                str(difference.relation) if difference else "identical to the source, bit for bit",
                move.source.spec.name if move.source else "newly made",
                spec.numel,
                figures.differing if figures else 0,
            )
        )
    return Grid("tensors", COLUMNS, rows, sort="change of RMS")
