"""What `diff` found, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from ckptconv.report.relations import figures_json, number_text, relation_json, relation_lines
from ckptconv.report.text import printable, size, table

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.diff import Diff, TensorDiff

MAX_LINES = 40
"""Lines on tensors that differ, shown as text; --json lists all."""
VALUE_COLUMNS = 30
CAST = "equal after a cast"


def diff_text(result: Diff, *, tensors: bool = False) -> str:
    """Return what was compared, what differs by key, layer and tensor, and the verdict on the last line.

    Args: tensors: list every tensor with its verdict.
    """
    blocks = [_heads(result)]
    if result.config:
        rows = [(one.key, value_text(one.first), value_text(one.second)) for one in result.config]
        blocks.append(table(rows, ("config", "in A", "in B")))
    if result.worst_first:
        blocks += [_layers(result), _differing(result)]
    if tensors:
        verdicts = [(one.verdict, one.key) for one in result.tensors]
        blocks.append(table(verdicts, ("verdict", "tensor")))
    blocks.append(_verdict(result))
    return printable("\n\n".join(blocks))


def _heads(result: Diff) -> str:
    sides = zip("AB", (result.first, result.second), result.models, result.forms, strict=True)
    return "\n".join(f"{letter}  {path}: {model}, {form}" for letter, path, model, form in sides)


def value_text(value: Json) -> str:
    """Return a config's value on one short line."""
    text = json.dumps(value) if value is not None else "-"
    return text if len(text) <= VALUE_COLUMNS else f"{text[: VALUE_COLUMNS - 3]}..."


def _layers(result: Diff) -> str:
    """Return which layers changed how much, in the order of the tables."""
    rows = [
        (
            one.part,
            one.layer,
            f"{one.differing} of {one.tensors}",
            f"{one.parameters:,}",
            number_text(one.figures.relative),
            number_text(one.figures.worst),
        )
        for one in result.layers
    ]
    headers = ("part", "layer", "differ", "parameters", "change of RMS", "largest change")
    return table(rows, headers, ("left", "left", *("right",) * 4))


def _differing(result: Diff) -> str:
    """Return the tensors that differ, the worst first, as many as fit."""
    lines: list[str] = []
    for number, one in enumerate(result.worst_first):
        assert one.relation is not None
        more = relation_lines(one.first, one.second, one.relation)
        if len(lines) + len(more) > MAX_LINES - 1:
            lines.append(f"... and {len(result.worst_first) - number} more (--json lists all)")
            break
        lines += more
    return "\n".join(lines)


def _verdict(result: Diff) -> str:
    """Count the verdicts, the equal ones last."""
    counts = Counter(one.verdict for one in result.tensors)
    order = sorted(counts, key=lambda kind: (kind == "equal", kind == "cast", -counts[kind], kind))
    said = ", ".join(f"{counts[kind]} {CAST if kind == 'cast' else kind}" for kind in order)
    keys = (
        f", {len(result.config)} config key{'s' if len(result.config) > 1 else ''}"
        if result.config
        else ""
    )
    verdict = "EQUAL" if result.matches else "DIFFERENT"
    return f"{verdict}: {len(result.tensors)} tensors, {size(result.nbytes)}: {said}{keys}"


def diff_json(result: Diff) -> dict[str, Json]:
    """Return a diff for --json: every tensor, the equal ones too."""
    return {
        "verdict": "equal" if result.matches else "different",
        "first": _side_json(result, 0),
        "second": _side_json(result, 1),
        "bytes": result.nbytes,
        "config": [
            {"key": one.key, "first": one.first, "second": one.second} for one in result.config
        ],
        "layers": [
            {
                "part": one.part,
                "layer": one.layer,
                "tensors": one.tensors,
                "parameters": one.parameters,
                "differing_tensors": one.differing,
                **figures_json(one.figures),
            }
            for one in result.layers
        ],
        "tensors": [_tensor_json(one) for one in result.tensors],
        "notices": list(result.notices),
    }


def _side_json(result: Diff, side: int) -> dict[str, Json]:
    path = (result.first, result.second)[side]
    return {"path": str(path), "model": result.models[side], "weights": result.forms[side]}


def _tensor_json(one: TensorDiff) -> dict[str, Json]:
    return {
        "tensor": one.key,
        "part": one.part,
        "layer": one.layer,
        "first": one.first,
        "second": one.second,
        "parameters": one.parameters,
        "verdict": one.verdict,
        "relation": relation_json(one.relation) if one.relation else None,
    }
