"""What `inspect` found."""

from __future__ import annotations

from ckptconv.config import Json
from ckptconv.errors import PlanError
from ckptconv.operations.inspect import Inspection
from ckptconv.render._text import MAX_PROBLEMS, printable, problems_json, size, table


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
