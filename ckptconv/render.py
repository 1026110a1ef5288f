"""Results as text and as JSON: the only place that formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ckptconv.errors import CkptconvError, Interrupted, PlanError, Problem

if TYPE_CHECKING:
    from ckptconv.config import Json
    from ckptconv.moves import Move, Plan
    from ckptconv.operations.inspect import Inspection
    from ckptconv.operations.split import Split
    from ckptconv.operations.writing import Conversion

MAX_PROBLEMS = 40
"""Problems shown as text; --json has them all."""


def size(nbytes: float) -> str:
    """Return a size in decimal units, as disks are sold and transformers cuts shards: `989.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    raise AssertionError


def table(rows: Sequence[Sequence[object]], headers: Sequence[str], align: Sequence[str] = ()) -> str:
    """Return a plain table; `align` names left or right for each column."""
    from tabulate import tabulate

    text: str = tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, colalign=align or None)
    return text


def dump(value: Mapping[str, Json]) -> str:
    """Return JSON in pure ASCII, so that no name from a checkpoint can steer a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=True)


def printable(text: str) -> str:
    """Return text with every character escaped that a terminal could take for a command."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def error_text(error: CkptconvError) -> str:
    """Return a message for stderr: what, where, expected, found, next step."""
    text = str(error)
    if isinstance(error, PlanError) and len(error.problems) > MAX_PROBLEMS:
        shown = PlanError(error.what, error.problems[:MAX_PROBLEMS])
        more = f"  ... and {len(error.problems) - MAX_PROBLEMS} more (--json lists them all)"
        first = f"{error.what}: {len(error.problems)} problems"
        text = "\n".join([first, *str(shown).splitlines()[1:], more, *([error.hint] if error.hint else [])])
    return f"Error: {printable(text)}"


def error_json(error: CkptconvError, exit_code: int) -> dict[str, Json]:
    """Return an error for --json."""
    problems = error.problems if isinstance(error, PlanError) else ()
    kind = "Interrupted" if isinstance(error, Interrupted) else type(error).__name__
    return {"error": kind, "message": str(error), "exit_code": exit_code, "problems": problems_json(problems)}


def problems_json(problems: Sequence[Problem]) -> list[Json]:
    """Return problems as objects."""
    return [{"kind": one.kind, "name": one.name, "detail": one.detail} for one in problems]


def plan_json(plan: Plan) -> list[Json]:
    """Return every move of a plan."""
    return [
        {
            "source": move.source.spec.name if move.source else None,
            "target": move.target.name,
            "dtype": move.target.dtype,
            "shape": list(move.target.shape),
            "axes": _axes(move),
        }
        for move in plan.moves
    ]


def _axes(move: Move) -> str:
    """Return what happens to the axes, in words."""
    if move.source is None:
        return "drawn" if move.fill and move.fill.std else "filled"
    if move.rows:
        return "rows moved"
    return "transposed" if move.permutation else "as is"


def plan_text(plan: Plan) -> str:
    """Return a plan as a table: what --dry-run shows."""
    rows = [
        (move.source.spec.name if move.source else "-", _axes(move), move.target.name,
         move.target.dtype, "x".join(map(str, move.target.shape)) or "scalar")
        for move in plan.moves
    ]  # fmt: skip
    return printable(table(rows, ("source", "axes", "target", "dtype", "shape")))


def conversion_json(result: Conversion) -> dict[str, Json]:
    """Return a conversion for --json."""
    return {
        "sources": [str(source) for source in result.sources],
        "target": str(result.target),
        "pair": result.pair,
        "dialect": result.dialect,
        "format": result.format,
        "files": list(result.files),
        "bytes": result.plan.nbytes,
        "healed": [one.entry for one in result.plan.healed],
        "notices": list(result.notices),
        "tensors": plan_json(result.plan),
    }


def conversion_text(result: Conversion, seconds: float) -> str:
    """Return the closing line of a conversion, or its plan after a dry run."""
    what = f"{result.pair}: {len(result.plan.moves)} tensors, {size(result.plan.nbytes)}"
    if not result.files:
        return f"{plan_text(result.plan)}\n\n{what} would be written as {result.format}; nothing was written."
    where = str(result.target / result.files[0])
    if len(result.files) > 1:
        where = f"{result.target} ({len(result.files)} shards)"
    return f"{what} -> {where}, read back and compared, in {seconds:.1f} s"


def split_json(result: Split) -> dict[str, Json]:
    """Return a split for --json."""
    return {
        "source": str(result.source),
        "target": str(result.target),
        "pair": result.pair,
        "notices": list(result.notices),
        "parts": [
            {"name": part.name, "bytes": part.plan.nbytes, "tensors": plan_json(part.plan)} for part in result.parts
        ],
    }


def split_text(result: Split, seconds: float, *, dry_run: bool) -> str:
    """Return one line a part, or their plans after a dry run."""
    if dry_run:
        plans = "\n\n".join(f"{part.name}\n{plan_text(part.plan)}" for part in result.parts)
        return f"{plans}\n\nNothing was written."
    rows = [(str(result.target / part.name), f"{len(part.plan.moves)} tensors", size(part.plan.nbytes))
            for part in result.parts]  # fmt: skip
    lines = "\n".join(f"{path}: {tensors}, {nbytes}" for path, tensors, nbytes in rows)
    return f"{lines}\n{result.pair}, read back and compared, in {seconds:.1f} s"


def inspection_json(result: Inspection) -> dict[str, Json]:
    """Return an inspection for --json."""
    return {
        "path": str(result.path),
        "pair": result.pair,
        "model_type": result.model_type,
        "saved_by": result.saved_by,
        "dialect": result.dialect,
        "format": result.format,
        "files": list(result.files),
        "dtypes": list(result.dtypes),
        "parameters": result.parameters,
        "bytes": result.nbytes,
        "parts": [
            {"name": one.name, "tensors": one.tensors, "parameters": one.parameters, "bytes": one.nbytes}
            for one in result.parts
        ],
        "ties": [{"tensor": name, "repeats": of, "stored": stored} for name, of, stored in result.ties],
        "problems": problems_json(result.problems),
        "refusal": result.refusal,
        "tensors": [
            {"name": one.spec.name, "part": one.part, "dtype": one.spec.dtype, "shape": list(one.spec.shape)}
            for one in result.tensors
        ],
    }


def inspection_text(result: Inspection, *, tensors: bool) -> str:
    """Return the summary, the parts, and with `tensors` every tensor."""
    files = result.files[0] if len(result.files) == 1 else f"{len(result.files)} shards"
    facts = [
        ("model", result.pair or result.model_type or "unknown"),
        ("weights", f"{result.dialect} {result.format}, {files}"),
        ("parameters", f"{result.parameters:,} in {len(result.tensors)} tensors"),
        ("size", f"{size(result.nbytes)}, {', '.join(result.dtypes)}"),
        ("saved by", f"transformers {result.saved_by}" if result.saved_by else "unknown"),
    ]
    blocks = ["\n".join(f"{name:<11} {value}" for name, value in facts), _parts_text(result)]
    blocks += [f"tied: {name} repeats {of} ({'stored too' if stored else 'stored once'})"
               for name, of, stored in result.ties]  # fmt: skip
    if tensors:
        rows = [(one.spec.name, one.part, one.spec.dtype, "x".join(map(str, one.spec.shape)) or "scalar")
                for one in result.tensors]  # fmt: skip
        blocks.append(table(rows, ("tensor", "part", "dtype", "shape")))
    blocks.append(_state_text(result))
    return printable("\n\n".join(blocks[:2]) + "\n" + "\n".join(["", *blocks[2:]]))


def _parts_text(result: Inspection) -> str:
    rows = [(one.name, one.tensors, f"{one.parameters:,}", size(one.nbytes), f"{one.nbytes / result.nbytes:.1%}")
            for one in result.parts if result.nbytes]  # fmt: skip
    return table(rows, ("part", "tensors", "parameters", "size", "share"), ("left", *("right",) * 4))


def _state_text(result: Inspection) -> str:
    if result.refusal:
        return f"no table applies: {result.refusal}"
    if result.problems:
        return str(PlanError("not convertible", result.problems[:MAX_PROBLEMS]))
    return "complete: every tensor is one that the config asks for, and none is missing"
