"""Where a mismatch comes from, in at most a dozen lines of text, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from ckptconv.report.outputs import outside_text
from ckptconv.report.relations import relation_json, relation_lines
from ckptconv.report.text import PIPE, Screen, counted, one_line, prose

if TYPE_CHECKING:
    from ckptconv.base.errors import Problem
    from ckptconv.base.strict_json import Json
    from ckptconv.compare.configs import ConfigDifference
    from ckptconv.run.localization import Where

MAX_LINES = 12
MAX_CONFIG = 3
"""Config keys that are shown; --json has them all."""
VALUE_COLUMNS = 24
INDENT = "  "


def cause_sentence(where: Where, problems: Sequence[Problem] = ()) -> str:
    """Return in one sentence what makes the target differ, with the first tensor or config key by name.

    Args:
        where: what leads from a difference to its cause.
        problems: tensors that the target lacks, has too many, or has in another shape.
    """
    sentence = _sentence(where, problems)
    if where.tensors:
        tensor = where.tensors[0]
        return one_line(
            f"{sentence}; first: {tensor.source or tensor.name} ({tensor.relation.kind})"
        )
    if where.config:
        key = where.config[0]
        return one_line(
            f"{sentence}; first: {key.key}, {_value(key.first)} -> {_value(key.second)}"
        )
    return one_line(sentence)


def _sentence(where: Where, problems: Sequence[Problem]) -> str:
    """Return what makes the target differ, after `cause:` or `likely cause:`."""
    keys = counted(len(where.config), "config key")
    if where.equal_weights and where.config:
        return f"cause: {keys} {_differ(len(where.config))}; the weights are identical"
    if where.equal_weights:
        return "likely cause: the target framework's class; the weights and all relevant config keys are identical"
    if where.tensors:
        count = len(where.tensors) + where.later
        also = f"; {keys} {_differ(len(where.config))} too" if where.config else ""
        if not where.later:
            return f"cause: {counted(count, 'tensor')} {_differ(count)}{also}"
        explains = "explains" if len(where.tensors) == 1 else "explain"
        return f"cause: {len(where.tensors)} of the {count} tensors that differ {explains} it{also}"
    if not where.later:
        return f"cause: {_problems_sentence(problems)}"
    culprit = f"{keys} that differ" if where.config else "the target framework's class"
    return f"likely cause: {culprit}; the first output beyond its limit does not use the tensors that differ"


def _differ(count: int) -> str:
    return "differs" if count == 1 else "differ"


def _problems_sentence(problems: Sequence[Problem]) -> str:
    """Return what is wrong with names and shapes, the first tensor of each kind by name."""
    texts = {
        "missing": "missing from the target",
        "unexpected": "in the target but not in the source's model",
        "shape": "of another shape than expected",
        "dtype": "of a dtype that cannot be compared",
        "not equal": "different from the source",
    }
    clauses = []
    for kind in dict.fromkeys(problem.kind for problem in problems):
        names = [problem.name for problem in problems if problem.kind == kind]
        verb = "is" if len(names) == 1 else "are"
        rest = ", ..." if len(names) > 1 else ""
        clauses.append(
            f"{counted(len(names), 'tensor')} {verb} {texts.get(kind, kind)}: {names[0]}{rest}"
        )
    return "; ".join(clauses) or "the tensors are not those of the source"


def cause_text(where: Where, problems: Sequence[Problem] = (), screen: Screen = PIPE) -> str:
    """Return the cause, the config keys that differ, and as many of the tensors as fit."""
    head = [_sentence(where, problems), *_config_lines(where.config)]
    if where.first:
        head.append(f"{INDENT}first output beyond its limit: {outside_text(where.first)}")
    lines = prose("\n".join(map(one_line, head)), screen).split("\n")
    if where.first:
        lines += _tensor_lines(where, MAX_LINES - len(lines), screen)
    return "\n".join(lines)


def _config_lines(config: tuple[ConfigDifference, ...]) -> Iterator[str]:
    for key in config[:MAX_CONFIG]:
        yield f"{INDENT}{key.key}: {_value(key.first)} in the source, {_value(key.second)} in the target"
    if len(config) > MAX_CONFIG:
        yield f"{INDENT}... and {len(config) - MAX_CONFIG} more keys (--json lists them all)"


def _tensor_lines(where: Where, room: int, screen: Screen) -> list[str]:
    """Return the tensors behind the first output, those nearest to the inputs first; the weights' part has figures."""
    count = len(where.tensors)
    lines: list[str] = []
    for number, tensor in enumerate(where.tensors):
        relation = replace(tensor.relation, figures=None)
        block = relation_lines(tensor.source, tensor.name, relation, "target", screen)
        block = [f"{INDENT}{one_line(line)}" for line in block]
        if len(lines) + len(block) + (number + 1 < count) > room:
            return [*lines, f"{INDENT}... and {count - number} more (--json lists them all)"]
        lines += block
    return lines


def _value(value: Json) -> str:
    """Return a config's value on one short line."""
    text = json.dumps(value) if value is not None else "not set"
    return text if len(text) <= VALUE_COLUMNS else f"{text[: VALUE_COLUMNS - 3]}..."


def cause_json(where: Where | None) -> dict[str, Json] | None:
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
