"""The parameters of a checkpoint as areas: sides, their layers, their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptconv.report.html.blocks import Figure
from ckptconv.report.html.figures import HOVER, colour, figure, label
from ckptconv.verbs.inspect import LEVELS, Inspection, TensorLine

SIDES = {"encoder": "encoder", "bridge": "bridge", "": "unknown"}
"""Part -> side; all other parts are the decoder's."""


@dataclass(slots=True)
class _Tree:
    """Boxes in the order in which plotly.js wants them: ids, names, and which box each lies in."""

    places: dict[Sequence[str], int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    colours: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(
        self, path: Sequence[str], count: int, tint: str, name: str = "", text: str = ""
    ) -> None:
        """Put a box, or more into the box, at a path from the root; its name is its last level, unless it is given."""
        if path not in self.places:
            self.places[path] = len(self.labels)
            self.labels.append(label(name or path[-1]))
            self.parents.append(str(self.places[path[:-1]]) if len(path) > 1 else "")
            self.values.append(0)
            self.colours.append(tint)
            self.texts.append(text)
        self.values[self.places[path]] += count


def treemap(result: Inspection) -> Figure:
    """Return the areas of all tensors."""
    tree = _Tree()
    ordered = sorted(result.tensors, key=lambda line: -1 if line.layer is None else line.layer)
    for line in ordered:
        side = SIDES.get(line.part, "decoder")
        path = ("all", side, _group(line), line.spec.name)
        tree.add(path[:1], line.spec.numel, "var(--hover)")
        for depth in (2, 3):
            tree.add(path[:depth], line.spec.numel, colour(side))
        tree.add(path, line.spec.numel, colour(line.part), _short(line), _about(line))
    trace: dict[str, Any] = {
        "type": "treemap",
        "ids": [str(number) for number in range(len(tree.labels))],
        "labels": tree.labels,
        "parents": tree.parents,
        "values": tree.values,
        "text": tree.texts,
        "branchvalues": "total",
        "maxdepth": 4,
        "sort": False,  # layers in their own order, 2 before 10
        "texttemplate": "%{label}<br>%{percentRoot:.1%}",
        "hovertemplate": "%{text}%{value:,} parameters, %{percentRoot:.2%}<extra>%{label}</extra>",
        "marker": {
            "colors": tree.colours,
            "line": {"width": 1, "color": "var(--paper)"},
            "pad": {"t": 20, "l": 2, "r": 2, "b": 2},
        },
        "textfont": {"color": ["var(--soft)", *("#ffffff",) * (len(tree.labels) - 1)]},
        "tiling": {"packing": "squarify", "pad": 1},
        "pathbar": {"thickness": 22, "textfont": {"color": "var(--ink)"}},
        "hoverlabel": HOVER,
    }
    return figure(
        [trace],
        height=480,
        margin={"l": 0, "r": 0, "t": 24, "b": 0},
        uniformtext={"minsize": 9, "mode": "hide"},
    )


def _group(line: TensorLine) -> str:
    """Return what a tensor lies in: its layer, the embeddings, the head, or none of these."""
    if line.layer is not None:
        return f"layer {line.layer}"
    if line.part == "head":
        return "head"
    return "embeddings" if "embed" in line.spec.name.lower() else "outside the layers"


def _short(line: TensorLine) -> str:
    """Return a name without what its boxes say already: the levels down to the number of its layer, or all but two."""
    levels = LEVELS.split(line.spec.name)
    number = str(line.layer)
    return ".".join(levels[levels.index(number) + 1 :] if number in levels else levels[-2:])


def _about(line: TensorLine) -> str:
    """Return what stands before the number of parameters when a box is pointed at."""
    shape = " x ".join(map(str, line.spec.shape)) or "scalar"
    return f"{label(line.spec.name)}<br>{line.spec.dtype} {shape}<br>"
