"""What all plots share: quiet axes, no background, and colours by name, which follow the page's theme."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import import_module
from math import ceil, floor, log10
from typing import Any

from ckptconv.base.errors import one_line
from ckptconv.report.html.blocks import Figure

CLEAR = "rgba(0,0,0,0)"
PART_COLOURS = {
    "encoder": "var(--part-1)",
    "decoder": "var(--part-2)",
    "cross-attention": "var(--part-3)",
    "head": "var(--part-4)",
}
"""The other parts are grey."""
AXIS: Mapping[str, Any] = {
    "gridcolor": "var(--line)",
    "linecolor": "var(--line)",
    "zeroline": False,
    "automargin": True,
    "fixedrange": True,
}
HOVER: Mapping[str, Any] = {
    "bgcolor": "var(--raised)",
    "bordercolor": "var(--line)",
    "font": {"color": "var(--ink)"},
}


def powers(values: Iterable[float | None]) -> dict[str, Any]:
    """Return a logarithmic axis: powers of ten alone where the values span two of them, else what lies between too."""
    logs = [log10(value) for value in values if value]
    wide = bool(logs) and floor(max(logs)) - ceil(min(logs)) >= 1
    steps: dict[str, Any] = {"dtick": 1} if wide else {"nticks": 6}
    if wide:  # whole decades, so that bars begin where a line is
        steps["range"] = [floor(min(logs)) - 0.02, ceil(max(logs)) + 0.02]
    return {"type": "log", "exponentformat": "power", "tickfont": {"size": 10}, **steps}


def colour(part: str) -> str:
    """Return the colour of a part of the model."""
    return PART_COLOURS.get(part, "var(--part-5)")


def label(text: str) -> str:
    """Return a name for a plot: plotly.js takes tags in its labels for markup."""
    return escape(one_line(text), quote=False)


def figure(
    traces: Sequence[Mapping[str, Any]],
    *,
    height: int,
    x: Mapping[str, Any] | None = None,
    y: Mapping[str, Any] | None = None,
    **layout: Any,
) -> Figure:
    """Return a figure that plotly has checked.

    Args: height: pixels. x, y: settings of the axes. layout: settings that take the place of the common ones.
    Raises: ValueError: plotly knows no such setting.
    """
    common = {
        "template": "none",
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "hoverlabel": HOVER,
        "dragmode": False,
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "bgcolor": CLEAR},
        "xaxis": {**AXIS, **(x or {})},
        "yaxis": {**AXIS, **(y or {})},
    }
    checked = import_module("plotly.graph_objects").Figure(
        data=list(traces), layout={**common, **layout}
    )
    document: dict[str, Any] = json.loads(checked.to_json())
    del document["layout"]["template"]
    return document
