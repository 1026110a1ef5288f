"""What `inspect` found: as text, as JSON with NaN and infinities as null, as Markdown for a model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ckptconv.base.errors import PlanError, markdown
from ckptconv.base.strict_json import Json
from ckptconv.report.stamp import stamped
from ckptconv.report.text import (
    MAX_PROBLEMS,
    PIPE,
    Screen,
    counted,
    finite,
    one_line,
    printable,
    problems_json,
    prose,
    size,
    table,
)
from ckptconv.verbs.inspect import Inspection, SideSummary, Target, TensorLine, Tie

MAX_FINDINGS = 5
"""Findings of one kind, ties and hooks that are shown; --json has them all."""
FIGURES = ("min", "max", "mean", "std", "zeros", "NaN", "Inf")
SPARED = ("part", "dtype", "NaN", "Inf", "zeros", "mean")
"""Columns that a narrow terminal does without, one after the other; --json has them."""


def inspection_text(result: Inspection, *, tensors: str = "", screen: Screen = PIPE) -> str:
    """Return the summary, and a table of the tensors.

    Args:
        result: what was inspected.
        tensors: a glob such as `*.bias`; empty for none, unless values were read.
        screen: where the text is shown; a terminal gets names with their middle left out where they are too long.
    """
    blocks = [
        "\n".join(prose(one_line(f"{name:<11} {value}"), screen) for name, value in facts(result)),
        parts_table(result, screen),
        prose("\n".join(map(one_line, notes(result))), screen),
        _tensors_text(result, tensors or ("*" if result.measured else ""), screen),
        targets_text(result, screen),
        prose(state(result), screen),
    ]
    return printable("\n\n".join(block for block in blocks if block))


def facts(result: Inspection) -> Iterator[tuple[str, str]]:
    """Return what the checkpoint is, as names and values."""
    if "model" not in [side.role for side in result.sides]:  # a model of one piece is its only side
        yield "model", model_name(result)
    role = "as {}" if result.open_role else "{}"
    yield from ((role.format(side.role), _side(side)) for side in result.sides)
    files = result.files[0] if len(result.files) == 1 else f"{len(result.files)} shards"
    yield "weights", f"{result.naming} {result.format}, {files}, {size(result.file_bytes)}"
    yield "parameters", f"{result.parameters:,} in {len(result.tensors):,} tensors"
    yield "size", f"{size(result.nbytes)}, {', '.join(result.dtypes)}"
    yield "saved by", f"transformers {result.saved_by}" if result.saved_by else "unknown"


def model_name(result: Inspection) -> str:
    """Return what the model is called: its type, or those of its sides."""
    if result.kind == "pair":
        return result.pair
    alone = {
        "encoder": ", one model",
        "decoder": ", one model",
        "bridge": ", the projection of a pair",
    }
    return f"{result.model_type or 'unknown'}{alone.get(result.kind, '')}"


def _side(side: SideSummary) -> str:
    sizes = (
        "" if side.layers is None else counted(side.layers, "layer"),
        "" if side.hidden is None else f"hidden {side.hidden:,}",
        "" if side.heads is None else counted(side.heads, "head"),
        "" if side.vocabulary is None else f"vocabulary {side.vocabulary:,}",
        f"reads {side.reads}" if side.reads else "",
    )
    return ", ".join([side.model_type, *filter(None, sizes)])


def part_rows(result: Inspection) -> list[tuple[str, str, str, str, str]]:
    """Return name, tensors, parameters, size and share of each part."""
    return [
        (
            part.name,
            f"{part.tensors:,}",
            f"{part.parameters:,}",
            size(part.nbytes),
            f"{part.nbytes / result.nbytes:.1%}" if result.nbytes else "-",
        )
        for part in result.parts
    ]


PART_HEADERS = ("part", "tensors", "parameters", "size", "share")


def parts_table(result: Inspection, screen: Screen = PIPE) -> str:
    """Return the table of parts."""
    align = ("left", *("right",) * 4)
    return table(part_rows(result), PART_HEADERS, align, screen) if result.parts else ""


def notes(result: Inspection) -> Iterator[str]:
    """Return ties, what is not used, code hooks, and what the values show: one sentence each."""
    yield from result.reading
    if result.open_role:
        yield (
            "role: an encoder or a decoder, since neither the config (is_decoder, add_cross_attention) nor a"
            " cross-attention says which; shown as a decoder, which has a place for the head"
        )
    yield from _some(
        [f"tied: {tie.name} repeats {tie.repeats} ({_stored(tie)})" for tie in result.ties], "ties"
    )
    if result.unused:
        rest = f" and {len(result.unused) - 3} more" if len(result.unused) > 3 else ""
        yield f"unused: {', '.join(result.unused[:3])}{rest}: {_place(result)} has no place for these"
    yield from _some(
        [f"code: {hook} (ckptconv never runs it)" for hook in result.code_hooks], "code hooks"
    )
    for sign in dict.fromkeys(finding.sign for finding in result.findings):
        lines = [f"{sign}: {finding.text}" for finding in result.findings if finding.sign == sign]
        yield from _some(lines, f"findings that say {sign}")


def _place(result: Inspection) -> str:
    """Return what would have to hold the tensors of one model or of a bridge."""
    named = {"encoder": "an encoder", "decoder": "a decoder", "bridge": "a bridge"}
    return named.get(result.kind, "the model")


def _some(lines: Sequence[str], kind: str) -> Iterator[str]:
    yield from lines[:MAX_FINDINGS]
    if len(lines) > MAX_FINDINGS:
        yield f"... and {len(lines) - MAX_FINDINGS:,} more {kind} (--json lists them all)"


def _stored(tie: Tie) -> str:
    if not tie.stored:
        return "stored once"
    if tie.difference is None:
        return "stored twice, not compared"
    return f"BROKEN: stored twice, {tie.difference}" if tie.broken else "stored twice, equal"


def targets_text(result: Inspection, screen: Screen = PIPE) -> str:
    """Return which verbs would take it, and why not."""
    if not result.targets:
        return ""
    column = max(len(target.verb) for target in result.targets) + 2
    lines = ["would convert:"]
    for target in result.targets:
        first, *further = answer(target).splitlines()
        lines.append(f"  {target.verb:<{column}}{first}")
        lines += [f"  {'':<{column}}{line}" for line in further]
    return prose("\n".join(lines), screen)


def answer(target: Target) -> str:
    """Say whether a verb would take it, and why not."""
    if not target.converts:
        return f"no: {target.refusal}"
    remarks = [*(f"if {condition}" for condition in target.conditions), *target.notices]
    return "; ".join(
        ["yes", *remarks[:3], *([f"and {len(remarks) - 3} notes more"] if len(remarks) > 3 else [])]
    )


def state(result: Inspection) -> str:
    """Say whether anything is missing or left over."""
    if result.refusal:
        return f"no table applies: {result.refusal}"
    if result.problems:
        text = str(PlanError("not convertible", result.problems[:MAX_PROBLEMS]))
        more = len(result.problems) - MAX_PROBLEMS
        return f"{text}\n  ... and {more} more (--json lists them all)" if more > 0 else text
    return "complete: every tensor is one that the config asks for, and none is missing"


def matching(result: Inspection, glob: str) -> list[TensorLine]:
    """Return the tensors whose name a glob matches."""
    return [line for line in result.tensors if fnmatchcase(line.spec.name, glob)]


def tensor_rows(lines: Sequence[TensorLine]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headers, and a row for each tensor; with figures where values were read."""
    headers: tuple[str, ...] = ("tensor", "part", "dtype", "shape")
    rows: list[tuple[str, ...]] = [
        (
            line.spec.name,
            line.part or "unknown",
            line.spec.dtype,
            "x".join(map(str, line.spec.shape)) or "scalar",
        )
        for line in lines
    ]
    if any(line.statistics for line in lines):
        headers += (*FIGURES, "signs")
        rows = [row + _figures(line) for row, line in zip(rows, lines, strict=True)]
    return headers, rows


def _figures(line: TensorLine) -> tuple[str, ...]:
    statistics = line.statistics
    assert statistics is not None
    values = (statistics.minimum, statistics.maximum, statistics.mean, statistics.std)
    counts = (statistics.zeros, statistics.nans, statistics.infinities)
    return (
        *(f"{value:.3g}" for value in values),
        *(f"{count:,}" for count in counts),
        ", ".join(line.signs),
    )


def _tensors_text(result: Inspection, glob: str, screen: Screen) -> str:
    if not glob:
        return ""
    lines = matching(result, glob)
    if not lines:
        return f"no tensor's name matches {glob!r}"
    headers, rows = tensor_rows(lines)
    align = ["right" if header in FIGURES else "left" for header in headers]
    return table(rows, headers, align, screen, SPARED)


def inspection_json(result: Inspection, *, tensors: str = "") -> dict[str, Json]:
    """Return an inspection for --json; `tensors` is a glob that leaves the other tensors away."""
    document: dict[str, Json] = {
        "path": str(result.path),
        "kind": result.kind,
        "open_role": result.open_role,
        "pair": result.pair,
        "model_type": result.model_type,
        "saved_by": result.saved_by,
        "dialect": result.naming,
        "format": result.format,
        "files": list(result.files),
        "file_bytes": result.file_bytes,
        "dtypes": list(result.dtypes),
        "parameters": result.parameters,
        "bytes": result.nbytes,
        "refusal": result.refusal,
        "problems": problems_json(result.problems),
        "unused": list(result.unused),
        "reading": list(result.reading),
        "code_hooks": list(result.code_hooks),
    }
    document["sides"] = [_side_json(side) for side in result.sides]
    document["parts"] = [
        {
            "name": part.name,
            "tensors": part.tensors,
            "parameters": part.parameters,
            "bytes": part.nbytes,
        }
        for part in result.parts
    ]
    document["ties"] = [_tie_json(tie) for tie in result.ties]
    document["targets"] = [_target_json(target) for target in result.targets]
    document["findings"] = (
        [
            {"sign": finding.sign, "text": finding.text, "tensors": list(finding.tensors)}
            for finding in result.findings
        ]
        if result.measured
        else None
    )
    document["tensors"] = [_tensor(line) for line in matching(result, tensors or "*")]
    return stamped("inspection", document)


def _side_json(side: SideSummary) -> Json:
    return {
        "role": side.role,
        "model_type": side.model_type,
        "reads": side.reads,
        "layers": side.layers,
        "hidden": side.hidden,
        "heads": side.heads,
        "vocabulary": side.vocabulary,
    }


def _tie_json(tie: Tie) -> Json:
    return {
        "tensor": tie.name,
        "repeats": tie.repeats,
        "stored": tie.stored,
        "difference": tie.difference,
    }


def _target_json(target: Target) -> Json:
    return {
        "verb": target.verb,
        "converts": target.converts,
        "refusal": target.refusal,
        "conditions": list(target.conditions),
        "notices": list(target.notices),
    }


def _tensor(line: TensorLine) -> dict[str, Json]:
    document: dict[str, Json] = {
        "name": line.spec.name,
        "part": line.part,
        "layer": line.layer,
        "dtype": line.spec.dtype,
        "shape": list(line.spec.shape),
        "bytes": line.spec.nbytes,
        "file": line.file,
    }
    if line.statistics:
        statistics = line.statistics
        document["statistics"] = {
            "min": finite(statistics.minimum),
            "max": finite(statistics.maximum),
            "mean": finite(statistics.mean),
            "std": finite(statistics.std),
            "kurtosis": finite(statistics.kurtosis),
            "nan": statistics.nans,
            "inf": statistics.infinities,
            "zeros": statistics.zeros,
            "sampled": statistics.sampled,
            "histogram": list(statistics.histogram),
        }
        document["signs"] = list(line.signs)
    return document


def inspection_markdown(result: Inspection, *, tensors: str = "") -> str:
    """Return headings, tables and lists; see `inspection_text` for `tensors`."""
    glob = tensors or ("*" if result.measured else "")
    blocks = [
        f"## {_cell(result.path.name or str(result.path))}",
        _table(("", ""), list(facts(result))),
    ]
    if result.parts:
        blocks.append(_table(PART_HEADERS, part_rows(result), right=4))
    if sentences := [f"- {_cell(note)}" for note in notes(result)]:
        blocks.append("\n".join(sentences))
    if result.targets:
        blocks.append(
            _table(
                ("would convert", ""), [(target.verb, answer(target)) for target in result.targets]
            )
        )
    if glob:
        headers, rows = tensor_rows(matching(result, glob))
        blocks.append(_table(headers, rows))
    verdict, *problems = state(result).splitlines()
    blocks.append(_cell(verdict))
    if problems:
        blocks.append("\n".join(f"- {_cell(problem.strip())}" for problem in problems))
    return printable("\n\n".join(blocks))


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """Return a table whose last `right` columns are aligned to the right."""
    lines = [headers, ["---"] * (len(headers) - right) + ["--:"] * right, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return text in which a name from a checkpoint cannot end a cell, or begin a link or a tag."""
    return markdown(text.replace("\n", " "))
