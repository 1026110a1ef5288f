"""Errors along the layers against the yardstick, and how the errors of single elements are spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from ckptconv.report.html.blocks import Figure
from ckptconv.report.html.figures import figure, label, powers
from ckptconv.run.children import Answer
from ckptconv.run.forward import ForwardReport
from ckptconv.run.runners import Array
from ckptconv.run.yardstick import EPSILON, RESULTS, RMS_FACTOR, Difference, Quantity

TICKS = 24
"""Layers that are named below a plot; of more, every second or third."""
BINS = 48
LEAST = 1e-12
"""Errors below this, relative to the RMS of the reference, are plotted as this."""
COLOURS = {"source": "var(--part-3)", "target": "var(--accent)"}


def along(report: ForwardReport, probe: str) -> Figure:
    """Return the errors of one probe in the order of the data flow, relative to the reference, with what is allowed."""
    members = [quantity for quantity in report.quantities if quantity.probe == probe]
    places = list(range(len(members)))
    traces = [
        _line(
            "allowed",
            places,
            [_relative(quantity, _allowed(quantity)) for quantity in members],
            "var(--soft)",
            "dash",
        ),
        _line(
            "PyTorch's own rounding",
            places,
            [_relative(quantity, _own(quantity)) for quantity in members],
            "var(--soft)",
            "solid",
        ),
        *(_errors(side, members) for side in ("source", "target") if side in members[0].judged),
    ]
    plotted = [value for trace in traces for value in trace["y"]]
    first = next((place for place, quantity in enumerate(members) if not quantity.matches), None)
    marks = {} if first is None else _mark(first, members)
    ticks = [
        place
        for place, quantity in enumerate(members)
        if quantity.name.count(".") < 2 and quantity.name != "loss"
    ]
    ticks = ticks[:: max(1, -(-len(ticks) // TICKS))]
    names = [members[place].name.replace("coder.", "c ") for place in ticks]
    axis = {
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": names,
        "tickangle": -45,
        "title": {"text": "outputs, as the model computes them", "standoff": 12},
        "showgrid": False,
        "range": [-0.6, len(members) - 0.4],
    }
    return figure(
        traces,
        height=420,
        x=axis,
        y={**powers(plotted), "title": {"text": "error / RMS of the output"}},
        **marks,
    )


def _line(
    name: str, places: Sequence[int], values: Sequence[float | None], tint: str, dash: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": places,
        "y": values,
        "line": {"color": tint, "width": 1.2, "dash": dash},
        "hoverinfo": "skip",
    }


def _errors(side: str, members: Sequence[Quantity]) -> dict[str, Any]:
    """Return the points of one side; what is off the yardstick is a red cross."""
    errors = [quantity.source if side == "source" else quantity.target for quantity in members]
    values = [
        _relative(quantity, _size(quantity, error))
        for quantity, error in zip(members, errors, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": side,
        "x": list(range(len(members))),
        "y": values,
        "text": [
            f"{label(quantity.name)}<br>{quantity.ratios[0]:.3g} times PyTorch's own"
            for quantity in members
        ],
        "hovertemplate": "%{text}<br>error / RMS of the output: %{y:.3g}<extra></extra>",
        "line": {"color": COLOURS[side], "width": 1.6},
        "marker": {
            "color": [COLOURS[side] if quantity.matches else "var(--bad)" for quantity in members],
            "symbol": ["circle" if quantity.matches else "x" for quantity in members],
            "size": 7,
        },
    }


def _mark(place: int, members: Sequence[Quantity]) -> dict[str, Any]:
    """Return a line at the first divergence, and what it is, on the side where there is room."""
    line = {
        "type": "line",
        "x0": place,
        "x1": place,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "var(--bad)", "width": 1, "dash": "dot"},
    }
    side, shift = ("left", 6) if place < len(members) / 2 else ("right", -6)
    text = {
        "x": place,
        "y": 0.02,
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": side,
        "showarrow": False,
        "xshift": shift,
        "text": f"first beyond its limit: {label(members[place].name)}",
        "font": {"color": "var(--bad)"},
    }
    return {"shapes": [line], "annotations": [text]}


def _size(quantity: Quantity, error: Difference | None) -> float | None:
    """Return what is judged of an error: the worst element against a tolerance, else the RMS."""
    return None if error is None else error.worst if quantity.tolerance else error.rms


def _own(quantity: Quantity) -> float | None:
    return (
        None
        if quantity.own is None
        else max(quantity.own.rms, EPSILON * quantity.own.reference_rms, quantity.floor)
    )


def _allowed(quantity: Quantity) -> float | None:
    if quantity.own is None:
        return None
    if quantity.tolerance:
        return quantity.tolerance.atol + quantity.tolerance.rtol * quantity.own.reference_max
    return RMS_FACTOR * (_own(quantity) or 0.0)


def _relative(quantity: Quantity, value: float | None) -> float | None:
    """Return a value over the RMS of the reference, as a logarithmic axis can show it."""
    if value is None or not isfinite(value) or quantity.own is None:
        return None
    return float(f"{max(value / (quantity.own.reference_rms or 1.0), LEAST):.4g}")


def histograms(report: ForwardReport) -> Iterator[tuple[str, Figure]]:
    """Return how the errors of single elements are spread, for the results and for what is off first."""
    probe = next((name for name in _probes(report) if _is_whole(report, name)), None)
    if probe is None:
        return
    first = next((quantity.name for quantity in report.outside if quantity.probe == probe), None)
    for name in dict.fromkeys((*([first] if first else []), *reversed(RESULTS))):
        exact = report.reference.arrays.get(f"float64/{probe}/{name}")
        arrays = {
            who: answer.arrays.get(f"float32/{probe}/{name}")
            for who, answer in _answers(report).items()
        }
        fitting = {
            who: array
            for who, array in arrays.items()
            if array is not None and exact is not None and array.shape == exact.shape
        }
        if exact is not None and len(fitting) == len(arrays):
            yield f"{name}, probe {probe}", _histogram(exact, fitting)


def _answers(report: ForwardReport) -> dict[str, Answer]:
    """Return who answered, PyTorch first, each once."""
    judged = {"source": report.source, "target": report.target}
    return {
        "PyTorch's own rounding": report.reference,
        **{who: answer for who, answer in judged.items() if answer is not report.reference},
    }


def _probes(report: ForwardReport) -> list[str]:
    return list(dict.fromkeys(quantity.probe for quantity in report.quantities))


def _is_whole(report: ForwardReport, probe: str) -> bool:
    """Tell whether no place of a probe is padding."""
    masks = [report.probes.get(f"{probe}.{side}attention_mask") for side in ("", "decoder_")]
    return all(mask is not None and bool((mask == 1).all()) for mask in masks)


def _histogram(exact: Array, arrays: dict[str, Array]) -> Figure:
    """Return shares of elements by the size of their error, relative to the RMS of the reference."""
    scale = float(np.sqrt(np.mean(np.square(exact)))) or 1.0
    logs = {
        who: np.log10(np.maximum(np.abs(array - exact) / scale, LEAST)).ravel()
        for who, array in arrays.items()
    }
    logs = {who: log[np.isfinite(log)] for who, log in logs.items()}
    low, high = min(log.min() for log in logs.values()), max(log.max() for log in logs.values())
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    traces = []
    for who, log in logs.items():
        counts, _ = np.histogram(log, edges)
        tint = COLOURS.get(who, "var(--soft)")
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": who,
                "fill": "tozeroy" if who not in COLOURS else "none",
                "x": [float(f"{10**value:.4g}") for value in (edges[:-1] + edges[1:]) / 2],
                "y": [float(f"{value:.4g}") for value in counts / max(len(log), 1)],
                "line": {"color": tint, "width": 1.6, "shape": "hvh"},
                "fillcolor": "var(--line)",
                "hovertemplate": "%{y:.1%} near %{x:.2g}<extra></extra>",
            }
        )
    axis = {
        **powers([10**low, 10**high]),
        "title": {"text": "error of an element / RMS of the output"},
    }
    return figure(
        traces,
        height=320,
        x=axis,
        y={"tickformat": ".0%", "rangemode": "tozero", "title": {"text": "share of the elements"}},
    )
