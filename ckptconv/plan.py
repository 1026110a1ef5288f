"""Rows against a checkpoint's index: the full list of moves, or every problem at once.

Pure data: no tensor is read here. A plan knows each target's name, dtype and shape, so that writers
can lay their files out before a byte is poured, and `verify` and `--dry-run` can say what will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ckptconv.errors import PlanError, Problem
from ckptconv.healing import Healed, RowRange
from ckptconv.table import DialectName, Row
from ckptconv.tensor import FLOATS, Stored, TensorSpec

DtypeChoice: TypeAlias = Literal["keep", "float32", "float16", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Move:
    """One target tensor and how its bytes are made: permute axes, move rows, cast; in this order."""

    row: Row
    target: TensorSpec
    source: Stored | None
    """None: zeros."""
    source_shape: tuple[int, ...] = ()
    """The source's shape without the axes of length one that one dialect has and another lacks."""
    permutation: tuple[int, ...] = ()
    """Axis of `source_shape` for each target axis; () keeps the order."""
    rows: tuple[RowRange, ...] = ()
    """Healing: ranges of source rows, in the target's order; () keeps all."""


@dataclass(frozen=True, slots=True)
class Equality:
    """Two tensors of the source that must hold the same bytes for the plan to be right."""

    first: Stored
    second: Stored
    kind: Literal["not equal", "cannot hold"]
    """What it means if they do not: the source contradicts itself, or the target has no place."""
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a conversion will do."""

    moves: tuple[Move, ...]
    equalities: tuple[Equality, ...] = ()
    notices: tuple[str, ...] = ()
    """What a user should know: one sentence each."""
    healed: tuple[Healed, ...] = ()

    def below(self, prefix: str) -> Plan:
        """Return the moves of the targets below a prefix, with the prefix taken off their names."""
        moves = tuple(
            replace(move, target=move.target.renamed(move.target.name.removeprefix(prefix)))
            for move in self.moves
            if move.target.name.startswith(prefix)
        )
        return replace(self, moves=moves)

    @property
    def nbytes(self) -> int:
        """Size of all targets' data [bytes]."""
        return sum(move.target.nbytes for move in self.moves)


def make_plan(
    rows: Sequence[Row],
    index: Mapping[str, Stored],
    source: DialectName,
    target: DialectName,
    *,
    what: str,
    dtype: DtypeChoice = "keep",
    widened: Mapping[str, str] | None = None,
    healings: Iterable[Healed] = (),
) -> Plan:
    """Return the plan that turns the tensors of `index` into those of the target dialect.

    Args: what: how messages name the checkpoint. widened: dtypes that the target's format lacks.
    Raises: PlanError: missing, unexpected, misshapen or duplicate tensors; all of them together.
    """
    found, problems = _match(rows, index, source)
    written = [row for row in rows if _is_written(row, target)]
    problems += _missing(rows, found, source)
    if problems:
        raise PlanError(what, problems, _hint(rows, problems, source))
    aliases = {row.tied_to: row for row in rows if row.tied_to and row.module.tied}
    heal = {f"{healed.module}.weight": healed for healed in healings}
    moves = []
    default = next((stored.spec.dtype for stored in found.values()), "float32")
    for row in written:
        stored = _source_of(row, aliases, found)
        moves.append(_move(row, stored, default, source, target, dtype, widened or {}, heal.get(row.key)))
    healed = tuple(heal[move.row.key] for move in moves if move.rows)
    equalities = tuple(_equalities(rows, found, target))
    return Plan(tuple(moves), equalities, tuple(_notices(rows, moves, found, healed)), healed)


def _match(
    rows: Iterable[Row], index: Mapping[str, Stored], source: DialectName
) -> tuple[dict[str, Stored], list[Problem]]:
    """Find each row's tensor in the index: row key -> stored, and what does not fit."""
    by_name = {name: row for row in rows if source in row.spellings for name in row.spellings[source].names}
    found: dict[str, Stored] = {}
    problems = []
    for name, stored in index.items():
        row = by_name.get(name)
        if row is None:
            problems.append(Problem("unexpected", name, f"{stored.spec.dtype} {list(stored.spec.shape)}"))
        elif row.key in found:
            problems.append(Problem("duplicate", name, f"the same tensor as {found[row.key].spec.name}"))
        else:
            found[row.key] = stored
            problems += _misfit(row, stored.spec, source)
    return found, problems


def _misfit(row: Row, spec: TensorSpec, source: DialectName) -> Iterator[Problem]:
    """Compare one tensor with what the config says of it."""
    if row.module.presence == "dropped":
        return
    expected = row.shape(source)
    if spec.shape != expected:
        labels = ", ".join(row.spellings[source].axes)
        yield Problem("shape", spec.name, f"expected {list(expected)} ({labels}), found {list(spec.shape)}")
    if spec.dtype not in FLOATS:
        yield Problem("dtype", spec.name, f"expected one of {', '.join(FLOATS)}, found {spec.dtype}")


def _missing(rows: Iterable[Row], found: Mapping[str, Stored], source: DialectName) -> Iterator[Problem]:
    """List the tensors that must be there and are not, under any of their names."""
    aliases = {row.tied_to: row for row in rows if row.tied_to and row.module.tied}
    for row in rows:
        optional = row.module.presence != "required" or (row.tied_to and row.module.tied)
        if optional or source not in row.spellings or _source_of(row, aliases, found):
            continue
        yield Problem("missing", row.spellings[source].names[0], f"expected {list(row.shape(source))}")


def _is_written(row: Row, target: DialectName) -> bool:
    """Tell whether a target holds the row: it has a place there, and no other row stands for it."""
    repeated = row.tied_to is not None and row.module.tied
    return row.module.presence != "dropped" and target in row.spellings and not repeated


def _source_of(row: Row, aliases: Mapping[str, Row], found: Mapping[str, Stored]) -> Stored | None:
    """Return where a row's values come from: its own tensor, or one that is tied to it."""
    alias = aliases.get(row.key)
    return found.get(row.key) or (found.get(alias.key) if alias else None)


def _equalities(rows: Iterable[Row], found: Mapping[str, Stored], target: DialectName) -> Iterator[Equality]:
    """List the pairs that the target holds once, so that they must hold the same bytes."""
    for row in rows:
        if row.tied_to is None or row.key not in found or row.tied_to not in found:
            continue
        first, second = found[row.tied_to], found[row.key]
        if row.module.tied:
            yield Equality(first, second, "not equal", "the config ties them, so the model has only one of them")
        elif target not in row.spellings:
            why = f"{target} classes have no head of their own: they reuse the embeddings"
            yield Equality(first, second, "cannot hold", why)


def _move(
    row: Row,
    stored: Stored | None,
    default: str,
    source: DialectName,
    target: DialectName,
    dtype: DtypeChoice,
    widened: Mapping[str, str],
    healed: Healed | None,
) -> Move:
    """Make the move of one row; without a source it is zeros of the `default` dtype."""
    kept = stored.spec.dtype if stored else default
    chosen = kept if dtype == "keep" else dtype
    shape = row.shape(target)
    if healed:
        shape = (healed.count, *shape[1:])
    spec = TensorSpec(row.spellings[target].names[0], widened.get(chosen, chosen), shape)
    from_axes = [axis for axis in row.spellings.get(source, row.spellings[target]).axes if axis != "1"]
    source_shape = tuple(row.sizes[axis] for axis in from_axes)
    permutation = tuple(from_axes.index(axis) for axis in row.spellings[target].axes if axis != "1")
    kept_order = permutation == tuple(range(len(permutation)))
    return Move(row, spec, stored, source_shape, () if kept_order else permutation, healed.rows if healed else ())


def _hint(rows: Iterable[Row], problems: Sequence[Problem], source: DialectName) -> str:
    """Return the next step, where the problems have a known cause."""
    missing = {problem.name for problem in problems if problem.kind == "missing"}
    cross = {row.spellings[source].names[0] for row in rows
             if row.module.part == "cross-attention" and row.module.presence == "required"
             and source in row.spellings}  # fmt: skip
    if cross and cross <= missing:
        return (
            "The decoder has no cross-attention at all: these are two models, not yet an encoder-decoder.\n"
            "`ckptconv join ENCODER DECODER OUT` makes one of them."
        )
    if any(problem.kind == "shape" for problem in problems):
        return "The config and the tensors contradict each other: is this config.json the one of these weights?"
    return "Nothing was written. A checkpoint must hold what its config says, and nothing else."


def _notices(
    rows: Iterable[Row], moves: Iterable[Move], found: Mapping[str, Stored], healed: Iterable[Healed]
) -> Iterator[str]:
    """Say what happens beside the plain moves: one sentence for each kind."""
    for move in moves:
        if move.source is None:
            yield f"{move.row.key}: not in the source, written as zeros ({move.row.module.why})"
    dropped: dict[str, list[str]] = {}
    for row in rows:
        if row.module.presence == "dropped" and row.key in found:
            dropped.setdefault(row.module.why, []).append(row.key)
    for why, keys in dropped.items():
        others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        yield f"{keys[0]}{others}: left behind ({why})"
    for one in healed:
        yield f"{one.module}: {one.why}"


def widening_notice(plan: Plan, form: str) -> Iterator[str]:
    """Say which dtypes the target's format has no type for."""
    pairs = sorted({(move.source.spec.dtype, move.target.dtype) for move in plan.moves
                    if move.source and move.source.spec.dtype != move.target.dtype})  # fmt: skip
    for kept, written in pairs:
        yield f"{form} has no {kept}: written as {written}, every value kept"
