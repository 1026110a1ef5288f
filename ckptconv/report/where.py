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


def where_text(found: Where) -> str:
    """Return what is to blame, the config keys that differ, and as many of the tensors as fit."""
    lines = [f"where    {found.verdict}", *_config_lines(found.config)]
    if found.first:
        first = f"first outside: {outside_text(found.first)}"
        lines += wrap(first, COLUMNS, initial_indent=INDENT, subsequent_indent=f"{INDENT}  ")
        lines += _tensor_lines(found, MAX_LINES - len(lines))
    return "\n".join(map(one_line, lines))


def _config_lines(config: tuple[ConfigDifference, ...]) -> Iterator[str]:
    for one in config[:MAX_CONFIG]:
        yield f"{INDENT}{one.key}: {_value(one.first)} in the source, {_value(one.second)} in the target"
    if len(config) > MAX_CONFIG:
        yield f"{INDENT}... and {len(config) - MAX_CONFIG} more keys (--json lists them all)"


def _tensor_lines(found: Where, room: int) -> list[str]:
    """Return the tensors behind the first quantity, the nearest to the inputs first; the weights' part has figures."""
    if not found.tensors:
        return []
    count = len(found.tensors)
    later = f", and {found.later} that it is not computed from" if found.later else ""
    lines = [
        f"{INDENT}behind it {f'{count} tensors differ' if count > 1 else '1 tensor differs'}{later}:"
    ]
    for number, one in enumerate(found.tensors):
        block = relation_lines(one.source, one.name, replace(one.relation, figures=None), "target")
        if len(lines) + len(block) + (number + 1 < count) > room:
            return [*lines, f"  ... and {count - number} more (--json lists them all)"]
        lines += block
    return lines


def _value(value: Json) -> str:
    """Return a config's value on one short line."""
    text = json.dumps(value) if value is not None else "not given"
    return text if len(text) <= VALUE_COLUMNS else f"{text[: VALUE_COLUMNS - 3]}..."


def where_json(found: Where | None) -> dict[str, Json] | None:
    """Return the same for --json, with every tensor and every key; None for a match."""
    if found is None:
        return None
    return {
        "verdict": found.verdict,
        "equal_weights": found.equal_weights,
        "first": _first_json(found),
        "tensors": [
            {"name": one.name, "source": one.source, **relation_json(one.relation)}
            for one in found.tensors
        ],
        "later": found.later,
        "config": [
            {"key": one.key, "source": one.first, "target": one.second} for one in found.config
        ],
    }


def _first_json(found: Where) -> dict[str, Json] | None:
    if found.first is None:
        return None
    rms, most = (ratio if isfinite(ratio) else None for ratio in found.first.ratios)
    return {
        "probe": found.first.probe,
        "name": found.first.name,
        "rms_ratio": rms,
        "max_ratio": most,
    }
