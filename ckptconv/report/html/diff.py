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
    Column("part", visible="wide", choose=True),
    Column("layer", visible="wide"),
    Column("verdict", "verdict", choose=True),
    Column("change of RMS", "figure"),
    Column("largest change", "figure", visible="wide"),
    Column("how", visible="opened"),
    Column("in A", visible="opened"),
    Column("in B", visible="opened"),
    Column("elements", "count", visible="opened"),
    Column("differing", "count", visible="opened"),
    Column("cosine", "figure", visible="opened"),
)


def diff_page(result: Diff) -> Page:
    """Return a diff as a page."""
    differ = sum(tensor.differs for tensor in result.tensors)
    keys = f", and {len(result.config)} of the config's keys" if result.config else ""
    summary = (
        f"{differ:,} of {len(result.tensors):,} tensors differ{keys}."
        if differ or keys
        else f"All {len(result.tensors):,} tensors hold the same values."
    )
    title = f"{result.first} and {result.second}"
    word = "Equal" if result.matches else "Different"
    return Page(
        "diff", title, word, "good" if result.matches else "bad", summary, tuple(_sections(result))
    )


def _sections(result: Diff) -> Iterator[Section]:
    counts = Counter(tensor.verdict for tensor in result.tensors).most_common()
    tiles = [(f"{count:,}", CAST if kind == "cast" else kind) for kind, count in counts]
    sides = zip("AB", (result.first, result.second), result.models, result.forms, strict=True)
    arrow = "\N{RIGHTWARDS ARROW}"
    facts = [
        (letter, f"{path}\n{model.replace('->', arrow)}, {form}")
        for letter, path, model, form in sides
    ]
    notes = (
        [Notes([("calm", "note", notice) for notice in result.notices])] if result.notices else []
    )
    yield Section(
        "Summary", (Tiles([*tiles, (size(result.nbytes), "compared")]), Facts(facts), *notes)
    )
    if result.config:
        rows = [(key.key, value_text(key.first), value_text(key.second)) for key in result.config]
        yield Section(
            "Config", (Table(("key", "in A", "in B"), rows),), "Keys that change the outputs."
        )
    yield Section(
        "Layers",
        tuple(_layers(result)),
        "How far each layer changed: RMS of the change / RMS of A.",
    )
    yield Section("Tensors", (_grid(result),), "Click a row for both names and how it differs.")


def _layers(result: Diff) -> Iterator[Plots | Table]:
    if any(layer.figures.relative > 0 for layer in result.layers):
        yield Plots("relative change of each layer", [("", _moved(result.layers))])
    rows = [
        (
            layer.part,
            layer.layer or "outside",
            f"{layer.differing} of {layer.tensors}",
            f"{layer.parameters:,}",
            number_text(layer.figures.relative),
            number_text(layer.figures.worst),
        )
        for layer in result.layers
    ]
    headers = ("part", "layer", "differ", "parameters", "change of RMS", "largest change")
    yield Table(headers, rows, frozenset(range(2, 6)))


def _moved(layers: tuple[LayerDiff, ...]) -> Figure:
    """Return the relative change of each layer, a colour for each part; what did not change has no bar."""
    names = {layer: layer.layer or "outside" for layer in layers}
    numbers = sorted(
        {name for name in names.values() if name.startswith("layer ")},
        key=lambda name: int(name[6:]),
    )
    traces = [
        {
            "type": "bar",
            "name": part,
            "x": [names[layer] for layer in layers if layer.part == part],
            "y": [_drawn(layer.figures.relative) for layer in layers if layer.part == part],
            "marker": {"color": colour(part), "line": {"width": 0}},
            "hovertemplate": "%{x}: %{y:.3g} of the RMS<extra>%{fullData.name}</extra>",
        }
        for part in dict.fromkeys(layer.part for layer in layers if _drawn(layer.figures.relative))
    ]
    order = ["embeddings", *numbers, "outside"]
    axis = {"type": "category", "categoryorder": "array", "categoryarray": order, "showgrid": False}
    axis["title"] = {"text": "layer", "standoff": 12}
    return figure(
        traces,
        height=340,
        x=axis,
        y={
            **powers(_drawn(layer.figures.relative) for layer in layers),
            "title": {"text": "RMS of the change / RMS of A"},
        },
        barmode="group",
        bargap=0.3,
    )


def _drawn(relative: float) -> float | None:
    """Return what a logarithmic axis can show."""
    return relative if relative > 0 and isfinite(relative) else None


def _grid(result: Diff) -> Grid:
    return Grid(
        "tensors", COLUMNS, [_row(tensor) for tensor in result.tensors], sort="change of RMS"
    )


def _row(tensor: TensorDiff) -> tuple[Cell, ...]:
    relation, figures = tensor.relation, tensor.relation.figures if tensor.relation else None
    change = (
        (figures.relative, figures.worst)
        if figures
        else (0.0, 0.0)
        if relation is None
        else (None, None)
    )
    counts = (figures.differing, figures.cosine) if figures else (None, None)
    return (
        tensor.key,
        tensor.part,
        tensor.layer,
        tensor.verdict,
        *change,
        str(relation) if relation else "identical, bit for bit",
        tensor.first,
        tensor.second,
        tensor.parameters,
        *counts,
    )
