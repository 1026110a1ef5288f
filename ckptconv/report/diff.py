"""What `diff` found, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from ckptconv.report.relations import figures_json, number_text, relation_json, relation_lines
from ckptconv.report.stamp import stamped
from ckptconv.report.text import (
    PIPE,
    Screen,
    closing,
    counted,
    one_line,
    printable,
    prose,
    size,
    table,
)

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.diff import Diff, TensorDiff

MAX_LINES = 40
"""Lines on tensors that differ, shown as text; --json lists all."""
VALUE_COLUMNS = 30
CAST = "equal after a cast"


def diff_text(result: Diff, *, tensors: bool = False, screen: Screen = PIPE) -> str:
    """Return what was compared, what differs by key, layer and tensor, and the verdict on the last line.

    Args: tensors: list every tensor with its verdict. screen: where the text is shown.
    """
    blocks = [prose(_heads(result), screen)]
    if result.config:
        rows = [(key.key, value_text(key.first), value_text(key.second)) for key in result.config]
        blocks.append(table(rows, ("config", "in A", "in B"), (), screen))
    if result.worst_first:
        blocks += [_layers(result, screen), _differing(result, screen)]
    if tensors:
        verdicts = [(tensor.verdict, tensor.key) for tensor in result.tensors]
        blocks.append(table(verdicts, ("verdict", "tensor"), (), screen))
    blocks.append(closing(_verdict(result), screen))
    return printable("\n\n".join(blocks))


def _heads(result: Diff) -> str:
    sides = zip("AB", (result.first, result.second), result.models, result.forms, strict=True)
    return "\n".join(
        one_line(f"{letter}  {path}: {model}, {form}") for letter, path, model, form in sides
    )


def value_text(value: Json) -> str:
    """Return a config's value on one short line."""
    text = json.dumps(value) if value is not None else "-"
    return text if len(text) <= VALUE_COLUMNS else f"{text[: VALUE_COLUMNS - 3]}..."


def _layers(result: Diff, screen: Screen) -> str:
    """Return which layers changed how much, in the order of the tables."""
    rows = [
        (
            layer.part,
            layer.layer,
            f"{layer.differing} of {layer.tensors}",
            f"{layer.parameters:,}",
            number_text(layer.figures.relative),
            number_text(layer.figures.worst),
        )
        for layer in result.layers
    ]
    headers = ("part", "layer", "differ", "parameters", "change\nof RMS", "largest\nchange")
    return table(rows, headers, ("left", "left", *("right",) * 4), screen)


def _differing(result: Diff, screen: Screen) -> str:
    """Return the tensors that differ, the worst first, as many as fit."""
    lines: list[str] = []
    for number, tensor in enumerate(result.worst_first):
        assert tensor.relation is not None
        block = relation_lines(tensor.first, tensor.second, tensor.relation, screen=screen)
        if len(lines) + len(block) > MAX_LINES - 1:
            lines.append(f"... and {len(result.worst_first) - number} more (--json lists them all)")
            break
        lines += block
    return "\n".join(lines)


def _verdict(result: Diff) -> str:
    """Count the verdicts, the equal ones last."""
    counts = Counter(tensor.verdict for tensor in result.tensors)
    order = sorted(counts, key=lambda kind: (kind == "equal", kind == "cast", -counts[kind], kind))
    verdicts = ", ".join(f"{counts[kind]} {CAST if kind == 'cast' else kind}" for kind in order)
    keys = f", {counted(len(result.config), 'config key')}" if result.config else ""
    verdict = "EQUAL" if result.matches else "DIFFERENT"
    return f"{verdict}: {len(result.tensors)} tensors, {size(result.nbytes)}: {verdicts}{keys}"


def diff_json(result: Diff) -> dict[str, Json]:
    """Return a diff for --json: every tensor, the equal ones too."""
    body: dict[str, Json] = {
        "verdict": "equal" if result.matches else "different",
        "first": _side_json(result, 0),
        "second": _side_json(result, 1),
        "bytes": result.nbytes,
        "config": [
            {"key": key.key, "first": key.first, "second": key.second} for key in result.config
        ],
        "layers": [
            {
                "part": layer.part,
                "layer": layer.layer,
                "tensors": layer.tensors,
                "parameters": layer.parameters,
                "differing_tensors": layer.differing,
                **figures_json(layer.figures),
            }
            for layer in result.layers
        ],
        "tensors": [_tensor_json(tensor) for tensor in result.tensors],
        "notices": list(result.notices),
    }
    return stamped("diff", body)


def _side_json(result: Diff, side: int) -> dict[str, Json]:
    path = (result.first, result.second)[side]
    return {"path": str(path), "model": result.models[side], "weights": result.forms[side]}


def _tensor_json(tensor: TensorDiff) -> dict[str, Json]:
    return {
        "tensor": tensor.key,
        "part": tensor.part,
        "layer": tensor.layer,
        "first": tensor.first,
        "second": tensor.second,
        "parameters": tensor.parameters,
        "verdict": tensor.verdict,
        "relation": relation_json(tensor.relation) if tensor.relation else None,
    }
