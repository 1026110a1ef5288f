"""Where attention maps differ: which heads of which layers, and at which places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ckptconv.report.html.blocks import Figure
from ckptconv.report.html.figures import figure, label
from ckptconv.run.forward import ForwardReport
from ckptconv.run.runners import Array
from ckptconv.run.yardstick import EPSILON, MAX_FACTOR, Quantity

MAPS = (".attention", ".cross")
MOST = 64
"""Maps that are drawn place by place: those that differ most, in the order of the data flow."""
PLACES = 64
"""Tokens of a map at most."""
SCALE = [[0, "var(--hover)"], [0.35, "var(--pale)"], [1, "var(--accent)"]]


@dataclass(frozen=True, slots=True)
class Map:
    """How far one layer's attention is from PyTorch's in float64."""

    name: str
    apart: Array
    """The target's, shape (batch, heads, queries, keys); the source's where the target is PyTorch's."""
    rounding: float
    """The largest error of PyTorch's float32, or what rounding makes at least."""

    @property
    def heads(self) -> Array:
        """Largest error of each head over PyTorch's own largest, shape (heads,)."""
        return np.asarray(self.apart.max(axis=(0, 2, 3)) / self.rounding)


def attention_maps(report: ForwardReport) -> tuple[Map, ...]:
    """Return every map of the first probe that all sides gave in one shape."""
    quantities = [quantity for quantity in report.quantities if quantity.name.endswith(MAPS)]
    return tuple(
        _maps(
            report, [quantity for quantity in quantities if quantity.probe == quantities[0].probe]
        )
    )


def _maps(report: ForwardReport, quantities: Sequence[Quantity]) -> Iterator[Map]:
    reference = report.reference.arrays
    judged = (report.source if report.target is report.reference else report.target).arrays
    for quantity in quantities:
        key = f"{quantity.probe}/{quantity.name}"
        exact, rounding, answer = (
            reference.get(f"float64/{key}"),
            reference.get(f"float32/{key}"),
            judged.get(f"float32/{key}"),
        )
        if exact is None or rounding is None or answer is None or exact.ndim != 4:
            continue
        if not rounding.shape == answer.shape == exact.shape:
            continue
        apart = np.nan_to_num(np.abs(answer - exact), nan=1.0).astype(np.float32)
        least = EPSILON * float(np.abs(exact).max() or 1.0)
        yield Map(quantity.name, apart, max(float(np.abs(rounding - exact).max()), least))


def heads(maps: Sequence[Map]) -> Figure:
    """Return the error of every head of every layer over PyTorch's own, as a table of colours."""
    width = max(len(chart.heads) for chart in maps)
    ratios = [[*map(float, chart.heads), *[None] * (width - len(chart.heads))] for chart in maps]
    logs = [
        [None if ratio is None else float(f"{np.log10(max(ratio, 1e-2)):.3g}") for ratio in row]
        for row in ratios
    ]
    largest = max(ratio for row in logs for ratio in row if ratio is not None)
    trace = {
        "type": "heatmap",
        "z": logs,
        "x": [str(n) for n in range(width)],
        "y": [label(chart.name) for chart in maps],
        "text": [["" if ratio is None else f"{ratio:.3g}" for ratio in row] for row in ratios],
        "zmin": -1,
        "zmax": max(largest, float(np.log10(MAX_FACTOR))),
        "xgap": 1,
        "ygap": 1,
        "colorscale": SCALE,
        "hovertemplate": "%{y}, head %{x}<br>%{text} times PyTorch's own<extra></extra>",
        "colorbar": {
            "title": {"text": "times PyTorch's own", "side": "right"},
            "thickness": 8,
            "outlinewidth": 0,
            "tickprefix": "10<sup>",
            "ticksuffix": "</sup>",
            "dtick": 1,
        },
    }
    return figure(
        [trace],
        height=90 + 17 * len(maps),
        x={"showgrid": False, "type": "category", "title": {"text": "head", "standoff": 8}},
        y={
            "title": {"text": "attention map", "standoff": 8},
            "autorange": "reversed",
            "showgrid": False,
            "tickfont": {"size": 10},
        },
    )


def places(maps: Sequence[Map]) -> list[tuple[str, Figure]]:
    """Return for each map where it differs: at each query and key the most of all heads, of the row that is worst."""
    worst = sorted(maps, key=lambda chart: -float(chart.heads.max()))[:MOST]
    return [
        (chart.name, _places(chart))
        for chart in maps
        if any(chart is candidate for candidate in worst)
    ]


def worst_place(maps: Sequence[Map]) -> int:
    """Return which of `places` differs most, to be shown first."""
    names = [name for name, _ in places(maps)]
    worst = max(maps, key=lambda chart: float(chart.heads.max()))
    return names.index(worst.name)


def _places(chart: Map) -> Figure:
    row = int(chart.apart.max(axis=(1, 2, 3)).argmax())
    apart = chart.apart[row].max(axis=0)[:PLACES, :PLACES]
    trace = {
        "type": "heatmap",
        "z": apart,
        "colorscale": SCALE,
        "zmin": 0,
        "zmax": max(float(apart.max()), chart.rounding),
        "hovertemplate": "query %{y}, key %{x}<br>apart by %{z:.2g}<extra></extra>",
        "colorbar": {
            "title": {"text": "difference", "side": "top"},
            "orientation": "h",
            "thickness": 8,
            "len": 0.3,
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "outlinewidth": 0,
            "exponentformat": "power",
            "nticks": 4,
        },
    }
    return figure(
        [trace],
        height=460,
        x={
            "title": {"text": "position of the key"},
            "showgrid": False,
            "constrain": "domain",
            "constraintoward": "left",
        },
        y={
            "title": {"text": "position of the query"},
            "autorange": "reversed",
            "showgrid": False,
            "scaleanchor": "x",
            "constrain": "domain",
        },
    )
