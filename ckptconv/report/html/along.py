"""Errors along the layers against the yardstick, and how the errors of single elements are spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from ckptconv.compare.difference import Difference
from ckptconv.report.html.blocks import Figure
from ckptconv.report.html.figures import figure, label, powers
from ckptconv.run.answers import Answer
from ckptconv.run.report import ForwardReport
from ckptconv.run.runners import Array
from ckptconv.run.yardstick import EPSILON, RESULTS, RMS_FACTOR, Quantity

TICKS = 24
"""Layers that are named below a plot; of more, every second or third."""
BINS = 48
LEAST = 1e-12
"""Errors below this, relative to the RMS of the reference, are drawn as this."""
COLOURS = {"source": "var(--part-3)", "target": "var(--accent)"}


def along(report: ForwardReport, probe: str) -> Figure:
    """Return the errors of one probe in the order of the data flow, relative to the reference, with what is allowed."""
    members = [one for one in report.quantities if one.probe == probe]
    places = list(range(len(members)))
    traces = [
        _line(
            "allowed",
            places,
            [_relative(one, _allowed(one)) for one in members],
            "var(--soft)",
            "dash",
        ),
        _line(
            "PyTorch's own rounding",
            places,
            [_relative(one, _own(one)) for one in members],
            "var(--soft)",
            "solid",
        ),
        *(_errors(side, members) for side in ("source", "target") if side in members[0].judged),
    ]
    drawn = [value for trace in traces for value in trace["y"]]
    first = next((place for place, one in enumerate(members) if not one.matches), None)
    marks = {} if first is None else _mark(first, members)
    ticks = [
        place for place, one in enumerate(members) if one.name.count(".") < 2 and one.name != "loss"
    ]
    ticks = ticks[:: max(1, -(-len(ticks) // TICKS))]
    names = [members[place].name.replace("coder.", "c ") for place in ticks]
    axis = {
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": names,
        "tickangle": -45,
        "showgrid": False,
        "range": [-0.6, len(members) - 0.4],
    }
    return figure(
        traces,
        height=420,
        x=axis,
        y={**powers(drawn), "title": {"text": "relative error"}},
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
    errors = [one.source if side == "source" else one.target for one in members]
    values = [_relative(one, _size(one, error)) for one, error in zip(members, errors, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": side,
        "x": list(range(len(members))),
        "y": values,
        "text": [
            f"{label(one.name)}<br>{one.ratios[0]:.3g} times PyTorch's own" for one in members
        ],
        "hovertemplate": "%{text}<br>relative error %{y:.3g}<extra></extra>",
        "line": {"color": COLOURS[side], "width": 1.6},
        "marker": {
            "color": [COLOURS[side] if one.matches else "var(--bad)" for one in members],
            "symbol": ["circle" if one.matches else "x" for one in members],
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
        "text": f"first outside: {label(members[place].name)}",
        "font": {"color": "var(--bad)"},
    }
    return {"shapes": [line], "annotations": [text]}


def _size(one: Quantity, error: Difference | None) -> float | None:
    """Return what is judged of an error: the worst element against a tolerance, else the RMS."""
    return None if error is None else error.worst if one.tolerance else error.rms


def _own(one: Quantity) -> float | None:
    return None if one.own is None else max(one.own.rms, EPSILON * one.own.reference_rms, one.floor)


def _allowed(one: Quantity) -> float | None:
    if one.own is None:
        return None
    if one.tolerance:
        return one.tolerance.atol + one.tolerance.rtol * one.own.reference_max
    return RMS_FACTOR * (_own(one) or 0.0)


def _relative(one: Quantity, value: float | None) -> float | None:
    """Return a value over the RMS of the reference, as a logarithmic axis can show it."""
    if value is None or not isfinite(value) or one.own is None:
        return None
    return float(f"{max(value / (one.own.reference_rms or 1.0), LEAST):.4g}")


def histograms(report: ForwardReport) -> Iterator[tuple[str, Figure]]:
    """Return how the errors of single elements are spread, for the results and for what is off first."""
    probe = next((one for one in _probes(report) if _is_whole(report, one)), None)
    if probe is None:
        return
    first = next((one.name for one in report.outside if one.probe == probe), None)
    for name in dict.fromkeys((*([first] if first else []), *reversed(RESULTS))):
        exact = report.reference.arrays.get(f"float64/{probe}/{name}")
        found = {
            who: one.arrays.get(f"float32/{probe}/{name}") for who, one in _answers(report).items()
        }
        fitting = {
            who: one
            for who, one in found.items()
            if one is not None and exact is not None and one.shape == exact.shape
        }
        if exact is not None and len(fitting) == len(found):
            yield f"{name}, probe {probe}", _histogram(exact, fitting)


def _answers(report: ForwardReport) -> dict[str, Answer]:
    """Return who answered, PyTorch first, each once."""
    judged = {"source": report.source, "target": report.target}
    return {
        "PyTorch's own rounding": report.reference,
        **{who: one for who, one in judged.items() if one is not report.reference},
    }


def _probes(report: ForwardReport) -> list[str]:
    return list(dict.fromkeys(one.probe for one in report.quantities))


def _is_whole(report: ForwardReport, probe: str) -> bool:
    """Tell whether no place of a probe is padding."""
    masks = [report.probes.get(f"{probe}.{side}attention_mask") for side in ("", "decoder_")]
    return all(mask is not None and bool((mask == 1).all()) for mask in masks)


def _histogram(exact: Array, found: dict[str, Array]) -> Figure:
    """Return shares of elements by the size of their error, relative to the RMS of the reference."""
    scale = float(np.sqrt(np.mean(np.square(exact)))) or 1.0
    logs = {
        who: np.log10(np.maximum(np.abs(one - exact) / scale, LEAST)).ravel()
        for who, one in found.items()
    }
    logs = {who: one[np.isfinite(one)] for who, one in logs.items()}
    low, high = min(one.min() for one in logs.values()), max(one.max() for one in logs.values())
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    traces = []
    for who, one in logs.items():
        counts, _ = np.histogram(one, edges)
        tint = COLOURS.get(who, "var(--soft)")
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": who,
                "fill": "tozeroy" if who not in COLOURS else "none",
                "x": [float(f"{10**value:.4g}") for value in (edges[:-1] + edges[1:]) / 2],
                "y": [float(f"{value:.4g}") for value in counts / max(len(one), 1)],
                "line": {"color": tint, "width": 1.6, "shape": "hvh"},
                "fillcolor": "var(--line)",
                "hovertemplate": "%{y:.1%} near %{x:.2g}<extra></extra>",
            }
        )
    axis = {**powers([10**low, 10**high]), "title": {"text": "relative error of an element"}}
    return figure(traces, height=320, x=axis, y={"tickformat": ".0%", "rangemode": "tozero"})
