"""Where a mismatch comes from, in at most a dozen lines of text, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from textwrap import wrap
from typing import TYPE_CHECKING

from ckptconv.report.outputs import outside_text
from ckptconv.report.relations import COLUMNS, relation_json, relation_lines
from ckptconv.report.text import one_line

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.compare.configs import ConfigDifference
    from ckptconv.run.localization import Where

MAX_LINES = 12
MAX_CONFIG = 3
"""Config keys that are shown; --json has them all."""
VALUE_COLUMNS = 24
INDENT = " " * 9


def where_text(where: Where) -> str:
    """Return what is to blame, the config keys that differ, and as many of the tensors as fit."""
    lines = [f"where    {where.verdict}", *_config_lines(where.config)]
    if where.first:
        first = f"first outside: {outside_text(where.first)}"
        lines += wrap(first, COLUMNS, initial_indent=INDENT, subsequent_indent=f"{INDENT}  ")
        lines += _tensor_lines(where, MAX_LINES - len(lines))
    return "\n".join(map(one_line, lines))


def _config_lines(config: tuple[ConfigDifference, ...]) -> Iterator[str]:
    for key in config[:MAX_CONFIG]:
        yield f"{INDENT}{key.key}: {_value(key.first)} in the source, {_value(key.second)} in the target"
    if len(config) > MAX_CONFIG:
        yield f"{INDENT}... and {len(config) - MAX_CONFIG} more keys (--json lists them all)"


def _tensor_lines(where: Where, room: int) -> list[str]:
    """Return the tensors behind the first quantity, the nearest to the inputs first; the weights' part has figures."""
    if not where.tensors:
        return []
    count = len(where.tensors)
    later = f", and {where.later} that it is not computed from" if where.later else ""
    lines = [
        f"{INDENT}behind it {f'{count} tensors differ' if count > 1 else '1 tensor differs'}{later}:"
    ]
    for number, tensor in enumerate(where.tensors):
        block = relation_lines(
            tensor.source, tensor.name, replace(tensor.relation, figures=None), "target"
        )
        if len(lines) + len(block) + (number + 1 < count) > room:
            return [*lines, f"  ... and {count - number} more (--json lists them all)"]
        lines += block
    return lines


def _value(value: Json) -> str:
    """Return a config's value on one short line."""
    text = json.dumps(value) if value is not None else "not given"
    return text if len(text) <= VALUE_COLUMNS else f"{text[: VALUE_COLUMNS - 3]}..."


def where_json(where: Where | None) -> dict[str, Json] | None:
    """Return the same for --json, with every tensor and every key; None for a match."""
    if where is None:
        return None
    return {
        "verdict": where.verdict,
        "equal_weights": where.equal_weights,
        "first": _first_json(where),
        "tensors": [
            {"name": tensor.name, "source": tensor.source, **relation_json(tensor.relation)}
            for tensor in where.tensors
        ],
        "later": where.later,
        "config": [
            {"key": key.key, "source": key.first, "target": key.second} for key in where.config
        ],
    }


def _first_json(where: Where) -> dict[str, Json] | None:
    if where.first is None:
        return None
    rms, maximum = (ratio if isfinite(ratio) else None for ratio in where.first.ratios)
    return {
        "probe": where.first.probe,
        "name": where.first.name,
        "rms_ratio": rms,
        "max_ratio": maximum,
    }
