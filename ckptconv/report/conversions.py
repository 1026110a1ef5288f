"""What the writing verbs did, or would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ckptconv.base.strict_json import Json
from ckptconv.binding.plan import Move, Plan
from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, closing, counted, printable, prose, size, table
from ckptconv.transfer.casting import TensorValues
from ckptconv.verbs.convert import Conversion
from ckptconv.version import __version__

if TYPE_CHECKING:
    from ckptconv.verbs.split import Split


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


def plan_text(plan: Plan, screen: Screen = PIPE) -> str:
    """Return a plan as a table: what --dry-run shows."""
    rows = [
        (
            move.source.spec.name if move.source else "-",
            _axes(move),
            move.target.name,
            move.target.dtype,
            "x".join(map(str, move.target.shape)) or "scalar",
        )
        for move in plan.moves
    ]
    return printable(
        table(rows, ("source", "axes", "target", "dtype", "shape"), (), screen, ("dtype", "shape"))
    )


def values_json(values: Sequence[TensorValues]) -> list[Json]:
    """Return the tensors with values that are not finite, or were lost in a cast."""
    return [
        {
            "tensor": tensor.name,
            "elements": tensor.numel,
            "dtype": tensor.source_dtype,
            "written": tensor.target_dtype,
            **asdict(tensor.counts),
        }
        for tensor in values
    ]


def conversion_json(result: Conversion) -> dict[str, Json]:
    """Return a conversion for --json."""
    body: dict[str, Json] = {
        "ckptconv": __version__,
        "sources": [str(source) for source in result.sources],
        "target": str(result.target),
        "pair": result.pair,
        "dialect": result.naming,
        "format": result.format,
        "files": list(result.files),
        "bytes": result.plan.nbytes,
        "healed": [fix.entry for fix in result.plan.healed],
        "notices": list(result.notices),
        "values": values_json(result.values),
        "tensors": plan_json(result.plan),
    }
    return stamped("conversion", body)


def conversion_text(result: Conversion, seconds: float | None = None, screen: Screen = PIPE) -> str:
    """Return the closing line of a conversion, or its plan after a dry run."""
    extent = (
        f"{result.pair}: {counted(len(result.plan.moves), 'tensor')}, {size(result.plan.nbytes)}"
    )
    if not result.files:
        end = f"{extent} would be written as {result.format}; nothing was written."
        return f"{plan_text(result.plan, screen)}\n\n{prose(end, screen)}"
    where = str(result.target / result.files[0])
    if len(result.files) > 1:
        where = f"{result.target} ({len(result.files)} shards)"
    return closing(f"{extent} -> {where}, read back and compared{took(seconds)}", screen)


def took(seconds: float | None) -> str:
    """Return how long it took, or nothing where nobody measured."""
    return "" if seconds is None else f", in {seconds:.1f} s"


def split_json(result: Split) -> dict[str, Json]:
    """Return a split for --json."""
    body: dict[str, Json] = {
        "ckptconv": __version__,
        "source": str(result.source),
        "target": str(result.target),
        "pair": result.pair,
        "notices": list(result.notices),
        "values": values_json(result.values),
        "parts": [
            {"name": part.name, "bytes": part.plan.nbytes, "tensors": plan_json(part.plan)}
            for part in result.parts
        ],
    }
    return stamped("split", body)


def split_text(
    result: Split, seconds: float | None = None, *, dry_run: bool = False, screen: Screen = PIPE
) -> str:
    """Return one line a part, or their plans after a dry run."""
    if dry_run:
        plans = "\n\n".join(f"{part.name}\n{plan_text(part.plan, screen)}" for part in result.parts)
        return f"{plans}\n\nNothing was written."
    rows = [
        (
            str(result.target / part.name),
            counted(len(part.plan.moves), "tensor"),
            size(part.plan.nbytes),
        )
        for part in result.parts
    ]
    lines = "\n".join(f"{path}: {tensors}, {nbytes}" for path, tensors, nbytes in rows)
    return f"{lines}\n{result.pair}, read back and compared{took(seconds)}"
