"""What `diff` found, as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite

from ckptconv.report.diff import CAST, value_text
from ckptconv.report.html.blocks import (
    Cell,
    Column,
    Facts,
    Figure,
    Grid,
    Notes,
    Page,
    Plots,
    Section,
    Table,
    Tiles,
)
from ckptconv.report.html.figures import colour, figure, powers
from ckptconv.report.relations import number_text
from ckptconv.report.text import size
from ckptconv.verbs.diff import Diff, LayerDiff, TensorDiff

COLUMNS = (
    Column("tensor", "name"),
    Column("part", shown="wide", choose=True),
    Column("layer", shown="wide"),
    Column("verdict", "verdict", choose=True),
    Column("change of RMS", "figure"),
    Column("largest change", "figure", shown="wide"),
    Column("how", shown="opened"),
    Column("in A", shown="opened"),
    Column("in B", shown="opened"),
    Column("elements", "count", shown="opened"),
    Column("differing", "count", shown="opened"),
    Column("cosine", "figure", shown="opened"),
)


def diff_page(result: Diff) -> Page:
    """Return a diff as a page."""
    differ = sum(one.differs for one in result.tensors)
    keys = f", and {len(result.config)} of the config's keys" if result.config else ""
    said = (
        f"{differ:,} of {len(result.tensors):,} tensors differ{keys}."
        if differ or keys
        else f"All {len(result.tensors):,} tensors hold the same values."
    )
    first, second = result.models
    title = first if first == second else f"{first} and {second}"
    word = "EQUAL" if result.matches else "DIFFERENT"
    return Page(
        "diff", title, word, "good" if result.matches else "bad", said, tuple(_sections(result))
    )


def _sections(result: Diff) -> Iterator[Section]:
    counts = Counter(one.verdict for one in result.tensors).most_common()
    tiles = [(f"{count:,}", CAST if kind == "cast" else kind) for kind, count in counts]
    sides = zip("AB", (result.first, result.second), result.models, result.forms, strict=True)
    facts = [(letter, f"{path}\n{model}, {form}") for letter, path, model, form in sides]
    notes = [Notes([("calm", "note", one) for one in result.notices])] if result.notices else []
    yield Section(
        "Summary", (Tiles([*tiles, (size(result.nbytes), "compared")]), Facts(facts), *notes)
    )
    if result.config:
        rows = [(one.key, value_text(one.first), value_text(one.second)) for one in result.config]
        yield Section(
            "Config", (Table(("key", "in A", "in B"), rows),), "Keys that change what is computed."
        )
    yield Section(
        "Layers",
        tuple(_layers(result)),
        "How far each moved: the RMS of the change over the RMS of A.",
    )
    yield Section(
        "Tensors", (_grid(result),), "Click a row for both spellings, and how it differs."
    )


def _layers(result: Diff) -> Iterator[Plots | Table]:
    if any(one.figures.relative > 0 for one in result.layers):
        yield Plots("relative change of each layer", [("", _moved(result.layers))])
    rows = [
        (
            one.part,
            one.layer or "outside",
            f"{one.differing} of {one.tensors}",
            f"{one.parameters:,}",
            number_text(one.figures.relative),
            number_text(one.figures.worst),
        )
        for one in result.layers
    ]
    headers = ("part", "layer", "differ", "parameters", "change of RMS", "largest change")
    yield Table(headers, rows, frozenset(range(2, 6)))


def _moved(layers: tuple[LayerDiff, ...]) -> Figure:
    """Return the relative change of each layer, a colour for each part; what did not change has no bar."""
    named = {one: one.layer or "outside" for one in layers}
    numbers = sorted(
        {name for name in named.values() if name.startswith("layer ")},
        key=lambda name: int(name[6:]),
    )
    traces = [
        {
            "type": "bar",
            "name": part,
            "x": [named[one] for one in layers if one.part == part],
            "y": [_drawn(one.figures.relative) for one in layers if one.part == part],
            "marker": {"color": colour(part), "line": {"width": 0}},
            "hovertemplate": "%{x}: %{y:.3g} of the RMS<extra>%{fullData.name}</extra>",
        }
        for part in dict.fromkeys(one.part for one in layers if _drawn(one.figures.relative))
    ]
    order = ["embeddings", *numbers, "outside"]
    axis = {"type": "category", "categoryorder": "array", "categoryarray": order, "showgrid": False}
    return figure(
        traces,
        height=340,
        x=axis,
        y=powers(_drawn(one.figures.relative) for one in layers),
        barmode="group",
        bargap=0.3,
    )


def _drawn(relative: float) -> float | None:
    """Return what a logarithmic axis can show."""
    return relative if relative > 0 and isfinite(relative) else None


def _grid(result: Diff) -> Grid:
    return Grid("tensors", COLUMNS, [_row(one) for one in result.tensors], sort="change of RMS")


def _row(one: TensorDiff) -> tuple[Cell, ...]:
    relation, found = one.relation, one.relation.figures if one.relation else None
    moved = (
        (found.relative, found.worst) if found else (0.0, 0.0) if relation is None else (None, None)
    )
    counts = (found.differing, found.cosine) if found else (None, None)
    return (
        one.key,
        one.part,
        one.layer,
        one.verdict,
        *moved,
        str(relation) if relation else "every bit is the same",
        one.first,
        one.second,
        one.parameters,
        *counts,
    )
