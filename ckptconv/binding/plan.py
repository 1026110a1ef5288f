"""Rows against a checkpoint's index: the full list of moves, or every problem at once.

No tensor is read here. A plan knows each target's name, dtype and shape, so that writers can lay their
files out before a byte is poured, and `verify` and `--dry-run` can say what will be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from ckptconv.base.errors import PlanError, Problem
from ckptconv.binding.moves import Equality, Fill, Move, Plan
from ckptconv.schema.fixes import Healed, RowRange, abreast
from ckptconv.schema.tensors import Row
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.tensor import FLOATS, Stored, TensorSpec

DtypeChoice: TypeAlias = Literal["keep", "float32", "float16", "bfloat16"]


def make_plan(
    rows: Sequence[Row],
    index: Mapping[str, Stored],
    source: NamingName,
    target: NamingName,
    *,
    what: str,
    dtype: DtypeChoice = "keep",
    widened: Mapping[str, str] | None = None,
    healings: Iterable[Healed] = (),
    healed_source: Iterable[Healed] = (),
    fills: Mapping[str, Fill] | None = None,
) -> Plan:
    """Return the plan that turns the tensors of `index` into those of the target naming.

    Args: what: how messages name the checkpoint. widened: dtypes that the target's format lacks.
    healings: what to mend in the target. healed_source: what was mended in the source, to be undone.
    fills: what to write for rows that the source lacks, by key.
    Raises: PlanError: missing, unexpected, misshapen or duplicate tensors; all of them together.
    """
    mend, undo = _by_key(healings), _by_key(healed_source)
    planner = _Planner(rows, source, target, dtype, widened or {}, mend, undo, fills or {})
    problems = [*planner.match(index), *planner.missing()]
    if problems:
        raise PlanError(what, problems, planner.hint(problems))
    return replace(planner.plan(), sources=dict(index))


def _by_key(healings: Iterable[Healed]) -> dict[str, Healed]:
    return {f"{healed.module}.weight": healed for healed in healings}


@dataclass(slots=True)
class _Planner:
    """The rows, what is wanted, and what the index holds of them."""

    rows: Sequence[Row]
    source: NamingName
    target: NamingName
    dtype: DtypeChoice
    widened: Mapping[str, str]
    healings: Mapping[str, Healed]
    healed_source: Mapping[str, Healed]
    fills: Mapping[str, Fill]
    found: dict[str, Stored] = field(default_factory=dict)
    """Row key -> its own tensor in the source."""
    twins: dict[str, list[str]] = field(default_factory=dict)
    """Row key -> keys of the rows that share its tensor."""

    def match(self, index: Mapping[str, Stored]) -> Iterator[Problem]:
        """Find each row's tensor, and say what does not fit."""
        by_name = {name: row for row in self.rows for name in self.names(row)}
        for row in self.rows:
            if row.tied_to and row.shares:
                self.twins.setdefault(row.tied_to, []).append(row.key)
        for name, stored in index.items():
            if name not in by_name:
                yield Problem("unexpected", name, f"{stored.spec.dtype} {list(stored.spec.shape)}")
                continue
            row = by_name[name]
            if row.key in self.found:
                yield Problem(
                    "duplicate", name, f"the same tensor as {self.found[row.key].spec.name}"
                )
            else:
                self.found[row.key] = stored
                yield from self.misfit(row, stored.spec)

    def names(self, row: Row) -> tuple[str, ...]:
        """Return the names that a row may have in the source."""
        return row.spellings[self.source].names if self.source in row.spellings else ()

    def expected(self, row: Row) -> tuple[int, ...]:
        """Return the shape that a row must have in the source."""
        shape = row.shape(self.source)
        healed = self.healed_source.get(row.key)
        return (healed.count, *shape[1:]) if healed else shape

    def misfit(self, row: Row, spec: TensorSpec) -> Iterator[Problem]:
        """Compare one tensor with what the config says of it."""
        if row.module.presence == "dropped":
            return
        expected = self.expected(row)
        if spec.shape != expected:
            labels = ", ".join(row.spellings[self.source].axes)
            yield Problem(
                "shape",
                spec.name,
                f"expected {list(expected)} ({labels}), found {list(spec.shape)}",
            )
        if spec.dtype not in FLOATS:
            yield Problem(
                "dtype", spec.name, f"expected one of {', '.join(FLOATS)}, found {spec.dtype}"
            )

    def source_of(self, row: Row) -> Stored | None:
        """Return where a row's values come from: its own tensor, or one that it shares or must repeat."""
        keys = [row.key]
        if row.tied_to and (row.shares or not self.names(row)):
            keys.append(row.tied_to)
        keys += [twin for key in tuple(keys) for twin in self.twins.get(key, ())]
        return next((self.found[key] for key in keys if key in self.found), None)

    def missing(self) -> Iterator[Problem]:
        """List the tensors that must be there and are not, under any of their names."""
        for row in self.rows:
            if row.module.presence != "required" or row.module.tied or row.key in self.fills:
                continue
            if self.source_of(row):
                continue
            if self.names(row):
                yield Problem("missing", self.names(row)[0], f"expected {list(self.expected(row))}")

    def written(self) -> Iterator[Row]:
        """Return the rows that the target holds."""
        return (row for row in self.rows if _is_written(row, self.target))

    def plan(self) -> Plan:
        """Return the plan, once everything is known to fit."""
        dtypes = self.dtypes()
        moves = tuple(self.move(row, dtypes) for row in self.written())
        healed = tuple(
            self.healings[move.row.key] for move in moves if move.row.key in self.healings
        )
        return Plan(moves, tuple(self.equalities()), tuple(self.notices(moves, healed)), healed)

    def dtypes(self) -> Mapping[str, str]:
        """Return side -> the dtype of its weights, for what is new on that side.

        Buffers do not count: they are integers as often as not, and come first in many files.
        """
        weights: dict[str, dict[str, TensorSpec]] = {"encoder": {}, "decoder": {}}
        for row in self.rows:
            stored = self.source_of(row)
            if stored and row.module.presence != "dropped":
                weights[_side(row)][stored.spec.name] = stored.spec
        everything = [spec for side in weights.values() for spec in side.values()]
        return {side: prevalent([*specs.values()] or everything) for side, specs in weights.items()}

    def move(self, row: Row, dtypes: Mapping[str, str]) -> Move:
        """Make the move of one row; without a source it is new, in the dtype of its side."""
        stored = self.source_of(row)
        kept = stored.spec.dtype if stored else dtypes[_side(row)]
        chosen = kept if self.dtype == "keep" else self.dtype
        shape = row.shape(self.target)
        ranges: tuple[RowRange, ...] = ()
        if row.key in self.healings:
            healed = self.healings[row.key]
            shape, ranges = (healed.count, *shape[1:]), healed.rows
        elif row.key in self.healed_source:
            ranges = self.healed_source[row.key].inverse
        spec = TensorSpec(
            row.spellings[self.target].names[0], self.widened.get(chosen, chosen), shape
        )
        axes = [
            axis
            for axis in row.spellings.get(self.source, row.spellings[self.target]).axes
            if axis != "1"
        ]
        permutation = tuple(
            axes.index(axis) for axis in row.spellings[self.target].axes if axis != "1"
        )
        if permutation == tuple(range(len(permutation))):
            permutation = ()
        fill = None if stored else self.fills.get(row.key, Fill(why=row.module.why))
        return Move(
            row, spec, stored, fill, tuple(row.sizes[axis] for axis in axes), permutation, ranges
        )

    def equalities(self) -> Iterator[Equality]:
        """List the pairs that the target holds once, so that they must hold the same bytes."""
        rows = {row.key: row for row in self.rows}
        for row in self.rows:
            if row.tied_to is None or row.key not in self.found or row.tied_to not in self.found:
                continue
            first, second = self.found[row.tied_to], self.found[row.key]
            if row.shares:
                why = "the config ties them, so the model has only one of them"
                for pair in self.alike(first, second, rows[row.tied_to], row):
                    yield Equality(*pair, "not equal", why)
            elif self.target not in row.spellings:
                why = f"{self.target} classes have no head of their own: they reuse the embeddings"
                yield Equality(first, second, "cannot hold", why)
        for key, healed in self.healed_source.items():
            for run in healed.repeated:
                why = "healing made them of one row, and only equal rows can be made one again"
                first = self.found[key].rows(run.start, run.stop - 1)
                yield Equality(
                    first, self.found[key].rows(run.start + 1, run.stop), "not equal", why
                )

    def alike(
        self, first: Stored, second: Stored, one: Row, other: Row
    ) -> Iterator[tuple[Stored, Stored]]:
        """Return what is one tensor in PyTorch, as it lies in the source: whole, or the rows that a healing moved."""
        healed = self.healed_source.get(one.key), self.healed_source.get(other.key)
        if any(healed):
            ranges = (
                half.inverse if half else (RowRange(0, row.shape(self.source)[0]),)
                for half, row in zip(healed, (one, other), strict=True)
            )
            for left, right in abreast(*ranges):
                yield first.rows(left.start, left.stop), second.rows(right.start, right.stop)
        elif (
            one.module.kind != other.module.kind
        ):  # embeddings, in PyTorch's order everywhere, and a head
            axes = other.spellings
            yield first, second.reordered(axes[self.source].axes, axes["pytorch"].axes)
        else:
            yield first, second

    def notices(self, moves: Iterable[Move], healed: Iterable[Healed]) -> Iterator[str]:
        """Say what happens beside the plain moves: one sentence for each kind."""
        for move in moves:
            if move.fill is not None and move.row.key not in self.fills:
                yield f"{move.row.key}: not in the source, written as zeros ({move.fill.why})"
        dropped: dict[str, list[str]] = {}
        for row in self.rows:
            unread = row.module.presence == "zeros" and self.target not in row.spellings
            if (unread or row.module.presence == "dropped") and row.key in self.found:
                dropped.setdefault(row.module.why, []).append(row.key)
        for why, keys in dropped.items():
            others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            yield f"{keys[0]}{others}: left behind ({why})"
        copied = [
            move.row.key
            for move in moves
            if move.row.module.copied and move.row.key not in self.found
        ]
        if copied:
            yield f"{copied[0]} and {len(copied) - 1} more: shared with the decoder in the source, written in full"
        yield from (f"{one.module}: {one.why}" for one in healed)
        yield from (f"{one.module}: healing undone" for one in self.healed_source.values())

    def hint(self, problems: Sequence[Problem]) -> str:
        """Return the next step, where the problems have a known cause."""
        missing = {problem.name for problem in problems if problem.kind == "missing"}
        cross = {
            self.names(row)[0]
            for row in self.rows
            if row.module.part == "cross-attention"
            and row.module.presence == "required"
            and self.names(row)
        }
        if cross and cross <= missing:
            return (
                "The decoder has no cross-attention at all: these are two models, not yet an encoder-decoder.\n"
                "`ckptconv join ENCODER DECODER OUT` makes one of them."
            )
        if any(problem.kind == "shape" for problem in problems):
            return "The config and the tensors contradict each other: is this config.json the one of these weights?"
        return "Nothing was written. A checkpoint must hold what its config says, and nothing else."


def prevalent(specs: Collection[TensorSpec]) -> str:
    """Return the float dtype that holds the most elements, of several the widest; float32 of no tensor."""
    elements = {
        dtype: sum(spec.numel for spec in specs if spec.dtype == dtype)
        for dtype in FLOATS
        if any(spec.dtype == dtype for spec in specs)
    }
    return max(elements, key=lambda dtype: elements[dtype], default="float32")


def _side(row: Row) -> str:
    """Return whose weights a row is trained with: the encoder's, or the decoder's, as the bridge is."""
    return "encoder" if row.key.startswith("encoder.") else "decoder"


def _is_written(row: Row, target: NamingName) -> bool:
    """Tell whether a target holds the row: it has a place there, and no other row stands for it."""
    once = row.tied_to and row.module.tied and target not in row.module.repeated_by
    return row.module.presence != "dropped" and target in row.spellings and not once


def widening_notice(plan: Plan, form: str) -> Iterator[str]:
    """Say which dtypes the target's format has no type for."""
    pairs = {
        (move.source.spec.dtype, move.target.dtype)
        for move in plan.moves
        if move.source and move.source.spec.dtype != move.target.dtype
    }
    for kept, written in sorted(pairs):
        yield f"{form} has no {kept}: written as {written}, every value kept"
