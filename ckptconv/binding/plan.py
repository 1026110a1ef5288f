"""A binding's way into another naming: the full list of moves, or every problem at once.

A move is a short list of operations, pure data, each with its inverse: an operation takes arrays and gives one array,
and its inverse is again a list of operations, so that a way back follows from the way there. `transfer/pieces.py` runs
them on bytes. No tensor is read here and no value touched: a plan knows each target's name, dtype and shape, so that
writers can lay their files out before a byte is moved, and `--dry-run` can say what will be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from typing import Literal, TypeAlias

from ckptconv.base.errors import PlanError, Problem
from ckptconv.binding.bind import Binding, Equality
from ckptconv.schema.fixes import Healed, RowRange, inverse_rows
from ckptconv.schema.formulas import Formula, Zeros
from ckptconv.schema.tensors import NamingName, SchemaTensor
from ckptconv.stores.tensor import FLOATS, Stored, TensorSpec

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same order, seen in another shape."""

    before: Shape
    after: Shape

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return self.after

    def inverse(self) -> tuple[Reshape, ...]:
        """Return the way back."""
        return (Reshape(self.after, self.before),)


@dataclass(frozen=True, slots=True)
class Permute:
    """The axes in another order: `order[n]` is the axis that becomes axis `n`."""

    order: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return tuple(shapes[0][axis] for axis in self.order)

    def inverse(self) -> tuple[Permute, ...]:
        """Return the way back."""
        return (Permute(tuple(self.order.index(axis) for axis in range(len(self.order)))),)


@dataclass(frozen=True, slots=True)
class Rows:
    """Ranges of a table's rows, one after the other; every row is in one of them, maybe several times."""

    ranges: tuple[RowRange, ...]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        count = sum((run.stop - run.start) * run.times for run in self.ranges)
        return (count, *shapes[0][1:])

    def inverse(self) -> tuple[Rows, ...]:
        """Return the way back: the first copy of each row, in the first order."""
        return (Rows(inverse_rows(self.ranges)),)


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of indices along one axis."""

    axis: int
    start: int
    stop: int

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return (*shapes[0][: self.axis], self.stop - self.start, *shapes[0][self.axis + 1 :])


@dataclass(frozen=True, slots=True)
class Concat:
    """Several arrays one behind the other along one axis; `sizes` are their lengths there."""

    axis: int
    sizes: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return (*shapes[0][: self.axis], sum(self.sizes), *shapes[0][self.axis + 1 :])

    def inverse(self) -> tuple[Slice, ...]:
        """Return the way back: one slice for each array that went in."""
        bounds = accumulate(self.sizes, initial=0)
        return tuple(Slice(self.axis, start, stop) for start, stop in pairwise(bounds))


@dataclass(frozen=True, slots=True)
class Cast:
    """Another dtype. The way back gives the same bits where `after` holds every value of `before`."""

    before: str
    after: str

    def shape(self, *shapes: Shape) -> Shape:
        """Return the result's shape."""
        return shapes[0]

    def inverse(self) -> tuple[Cast, ...]:
        """Return the way back."""
        return (Cast(self.after, self.before),)


@dataclass(frozen=True, slots=True)
class Fill:
    """Values that no source holds: normal around `mean`, or `mean` throughout where `std` is 0."""

    mean: float = 0.0
    std: float = 0.0
    seed: int = 0
    why: str = ""
    """The reason, as shown to the user."""
    formula: Formula | None = None
    """What gives the values instead, where they follow from the tensor's shape."""

    def inverse(self) -> tuple[()]:
        """Return the way back: nothing is kept."""
        return ()


Op: TypeAlias = Reshape | Permute | Rows | Slice | Concat | Cast
"""What is done to arrays that a source holds; `Fill` makes one of nothing."""


def in_order(order: Sequence[int]) -> bool:
    """Tell whether an order of axes changes nothing."""
    return list(order) == list(range(len(order)))


@lru_cache(maxsize=1024)  # layers are alike
def ops_between(
    axes: tuple[str, ...],
    sizes: Shape,
    target_axes: tuple[str, ...],
    ranges: tuple[RowRange, ...] = (),
) -> tuple[Op, ...]:
    """Return the operations that bring a stored tensor into the order of axes that is wanted.

    Args: axes: labels in the order that is stored, `1` for an axis of length one that not every naming has.
    sizes: of all these axes. wanted: the labels in the order asked for. ranges: rows to take, in this order.
    """
    dense_axes = [(label, size) for label, size in zip(axes, sizes, strict=True) if label != "1"]
    labels, shape = [label for label, _ in dense_axes], tuple(size for _, size in dense_axes)
    ops: list[Op] = []
    if shape != sizes:
        ops.append(Reshape(sizes, shape))
    order = tuple(labels.index(label) for label in target_axes if label != "1")
    if not in_order(order):
        ops.append(Permute(order))
        shape = ops[-1].shape(shape)
    if ranges:
        ops.append(Rows(ranges))
        shape = ops[-1].shape(shape)
    dense = iter(shape)
    target = tuple(1 if label == "1" else next(dense) for label in target_axes)
    if target != shape:
        ops.append(Reshape(shape, target))
    assert prod(target) == prod(shape)
    return tuple(ops)


@dataclass(frozen=True, slots=True)
class Move:
    """One target tensor and how its bytes are made: the operations in their order, then a cast to its dtype."""

    tensor: SchemaTensor
    target: TensorSpec
    source: Stored | None
    """None: the values are made, as `fill` says."""
    ops: tuple[Op, ...] = ()
    fill: Fill | None = None
    more: tuple[Stored, ...] = ()
    """Further sources, where the first operation joins several."""

    @property
    def permutation(self) -> tuple[int, ...]:
        """Axis of the source, without those of length one, for each target axis; () keeps the order."""
        return next((op.order for op in self.ops if isinstance(op, Permute)), ())

    @property
    def rows(self) -> tuple[RowRange, ...]:
        """Ranges of source rows, in the target's order; () keeps all."""
        return next((op.ranges for op in self.ops if isinstance(op, Rows)), ())


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor of the source that the target's class computes, so that it must hold what the formula gives."""

    stored: Stored
    formula: Formula
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a conversion will do."""

    moves: tuple[Move, ...]
    equalities: tuple[Equality, ...] = ()
    constants: tuple[Constant, ...] = ()
    notices: tuple[str, ...] = ()
    """What a user should know: one sentence each."""
    healed: tuple[Healed, ...] = ()
    """Healings that the target gets."""
    sources: Mapping[str, Stored] = field(default_factory=dict)
    """Every tensor of the source by name, those too that nothing moves."""

    def below(self, prefix: str) -> Plan:
        """Return what is below a prefix in source and target, with the prefix taken off the targets' names."""
        moves = tuple(
            replace(move, target=move.target.renamed(move.target.name.removeprefix(prefix)))
            for move in self.moves
            if move.target.name.startswith(prefix)
        )
        sources = {name: stored for name, stored in self.sources.items() if name.startswith(prefix)}
        return replace(self, moves=moves, sources=sources)

    @property
    def nbytes(self) -> int:
        """Size of all targets' data [bytes]."""
        return sum(move.target.nbytes for move in self.moves)


def integer_constants(binding: Binding) -> Iterator[Constant]:
    """Return the integers of a checkpoint, which must be what its config says."""
    for key, stored in binding.stored.items():
        tensor = binding.tensors[key]
        if tensor.module.formula is not None and tensor.integers(binding.naming):
            yield Constant(stored, tensor.module.formula, tensor.module.why)


DtypeChoice: TypeAlias = Literal["keep", "float32", "float16", "bfloat16"]


def make_plan(
    binding: Binding,
    target: NamingName,
    *,
    what: str,
    dtype: DtypeChoice = "keep",
    widened: Mapping[str, str] | None = None,
    fixes: Iterable[Healed] = (),
    fills: Mapping[str, Fill] | None = None,
    borrowed: Mapping[str, tuple[Stored, tuple[Op, ...]]] | None = None,
) -> Plan:
    """Return the plan that turns what a binding holds into the tensors of the target naming.

    Args: what: how messages name the checkpoint. widened: dtypes that the target's format lacks.
    fixes: what to mend in the target; what was mended in the source is undone.
    fills: what to write for tensors that the source lacks, by key.
    borrowed: tensors that take the values of another one: where those lie, and what is done to them.
    Raises: PlanError: missing, unexpected, misshapen or duplicate tensors; all of them together.
    """
    fills, borrowed = fills or {}, borrowed or {}
    problems = binding.problems(provided={*fills, *borrowed})
    if problems:
        raise PlanError(what, problems, _hint(binding, problems))
    mended = {f"{fix.module}.weight": fix for fix in fixes}
    return _Planner(binding, target, dtype, widened or {}, mended, fills, borrowed).plan()


@dataclass(slots=True)
class _Planner:
    """A complete binding, and what is wanted of it."""

    binding: Binding
    target: NamingName
    dtype: DtypeChoice
    widened: Mapping[str, str]
    fixes: Mapping[str, Healed]
    fills: Mapping[str, Fill]
    borrowed: Mapping[str, tuple[Stored, tuple[Op, ...]]]

    def plan(self) -> Plan:
        """Return the plan."""
        schema = self.binding.tensors.values()
        dtypes = self.dtypes()
        moves = tuple(
            self.move(tensor, dtypes) for tensor in schema if tensor.is_written_in(self.target)
        )
        fixes = tuple(
            self.fixes[move.tensor.key] for move in moves if move.tensor.key in self.fixes
        )
        sources = {
            stored.spec.name: stored
            for stored in (
                *self.binding.stored.values(),
                *(view for view, _ in self.borrowed.values()),
            )
        }
        return Plan(
            moves,
            tuple(self.equalities()),
            tuple(self.constants()),
            tuple(self.notices(moves, fixes)),
            fixes,
            sources,
        )

    def dtypes(self) -> dict[str, str]:
        """Return part of the model -> the dtype of its weights, for what is new there.

        Buffers do not count: they are integers as often as not, and come first in many files.
        """
        weights: dict[str, dict[str, TensorSpec]] = {}
        for key, tensor in self.binding.tensors.items():
            stored = self.binding.source(key)
            if stored and not tensor.is_buffer:
                weights.setdefault(_part(tensor), {})[stored.spec.name] = stored.spec
        every = [spec for part in weights.values() for spec in part.values()]
        last = [*weights.get("decoder", {}).values()] or every  # with it a bridge is trained
        parts = {_part(tensor) for tensor in self.binding.tensors.values()}
        return {part: prevalent([*weights.get(part, {}).values()] or last) for part in parts}

    def move(self, tensor: SchemaTensor, dtypes: Mapping[str, str]) -> Move:
        """Make the move of one tensor; without a source it is new, in the dtype of its part."""
        key = tensor.key
        integers = tensor.integers(self.target)
        if integers:  # which the source holds as the config says, or the plan is refused
            spec = TensorSpec(tensor.names_in(self.target)[0], integers, tensor.shape(self.target))
            made = Fill(why=tensor.module.why, formula=tensor.module.formula)
            return Move(tensor, spec, None, fill=made)
        stored = self.binding.source(key)
        ops: tuple[Op, ...] = ()
        if stored is None and key in self.borrowed:
            stored, ops = self.borrowed[key]
        elif stored is not None:
            ops = self.ops(tensor, stored)
        present = stored.spec.dtype if stored else dtypes[_part(tensor)]
        chosen = present if self.dtype == "keep" else self.dtype
        shape = tensor.shape(self.target)
        if key in self.fixes:
            shape = (self.fixes[key].count, *shape[1:])
        name = tensor.names_in(self.target)[0]
        spec = TensorSpec(name, self.widened.get(chosen, chosen), shape)
        fill = (
            None
            if stored
            else self.fills.get(key, Fill(why=tensor.module.why, formula=tensor.module.formula))
        )
        return Move(tensor, spec, stored, ops, fill)

    def ops(self, tensor: SchemaTensor, stored: Stored) -> tuple[Op, ...]:
        """Return what is done to a stored tensor on its way."""
        before, after = self.binding.fixes.get(tensor.key), self.fixes.get(tensor.key)
        ranges: tuple[RowRange, ...] = ()
        if before != after:
            ranges = after.rows if after else before.inverse if before else ()
        axes = self.binding.axes(tensor.key)
        return ops_between(axes, stored.spec.shape, tensor.spellings[self.target].axes, ranges)

    def equalities(self) -> Iterator[Equality]:
        """Return the pairs that the target holds once, so that they must hold the same bytes."""
        yield from self.binding.repeats()
        stored = self.binding.stored
        for key, tensor in self.binding.tensors.items():
            first = tensor.tied_to
            if first is None or tensor.shares or first not in stored or key not in stored:
                continue
            if self.target not in tensor.spellings:
                why = f"{self.target} classes have no head of their own: they reuse the embeddings"
                yield Equality(stored[first], stored[key], "cannot hold", why)

    def constants(self) -> Iterator[Constant]:
        """Return the tensors that the target's class computes, so that they must hold what it would."""
        yield from integer_constants(self.binding)
        for key, stored in self.binding.stored.items():
            tensor = self.binding.tensors[key]
            formula, integers = tensor.module.formula, tensor.integers(self.target)
            if formula is not None and not integers and not tensor.is_written_in(self.target):
                yield Constant(stored, formula, tensor.module.why)

    def notices(self, moves: Iterable[Move], fixes: Iterable[Healed]) -> Iterator[str]:
        """Say what happens beside the plain moves: one sentence for each kind."""
        yield from self.binding.wrapper_notices()
        drawn = self.binding.drawn()
        if drawn:
            names, masters = " and ".join(drawn), " and ".join(dict.fromkeys(drawn.values()))
            yield (
                f"{names}: not in the source, so that its class of transformers 4.57.6 draws new ones when it loads"
                f" it; taken to repeat {masters}, as the class saves them, and written where the target has a place"
            )
        keys_by_values: dict[str, list[str]] = {}
        for move in moves:
            absent = move.tensor.key not in self.binding.stored
            if move.fill is not None and absent and move.tensor.key not in self.fills:
                formula = move.tensor.module.formula
                computed = formula is not None and not isinstance(formula, Zeros)
                values = f"as {'computed' if computed else 'zeros'} ({move.tensor.module.why})"
                keys_by_values.setdefault(values, []).append(move.tensor.key)
        for values, keys in keys_by_values.items():
            rest = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            yield f"{keys[0]}{rest}: not in the source, written {values}"
        dropped: dict[str, list[str]] = {}
        for key, tensor in self.binding.tensors.items():
            unread = tensor.module.presence == "zeros" and self.target not in tensor.spellings
            if (unread or tensor.is_buffer) and key in self.binding.stored:
                dropped.setdefault(tensor.module.why, []).append(key)
        for why, keys in dropped.items():
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            yield f"{keys[0]}{more}: left behind ({why})"
        copied = [
            move.tensor.key
            for move in moves
            if move.tensor.module.copied and move.tensor.key not in self.binding.stored
        ]
        if copied:
            yield (
                f"{copied[0]} and {len(copied) - 1} more:"
                " shared with the decoder in the source, written in full"
            )
        yield from (f"{fix.module}: {fix.why}" for fix in fixes)
        yield from (f"{fix.module}: {fix.undoing}" for fix in self.binding.fixes.values())


def _part(tensor: SchemaTensor) -> str:
    """Return whose weights a tensor is trained with: the first level of its path."""
    return tensor.key.partition(".")[0]


def prevalent(specs: Collection[TensorSpec]) -> str:
    """Return the float dtype that holds the most elements, of several the widest; float32 of no tensor."""
    elements = Counter[str]()
    for spec in specs:
        elements[spec.dtype] += spec.numel
    stored = [dtype for dtype in FLOATS if dtype in elements]
    return max(stored, key=lambda dtype: elements[dtype], default="float32")


def _hint(binding: Binding, problems: Sequence[Problem]) -> str:
    """Return the next step, where the problems have a known cause."""
    missing = {problem.name for problem in problems if problem.kind == "missing"}
    cross = {
        binding.names[key][0]
        for key, tensor in binding.tensors.items()
        if tensor.module.part == "cross-attention" and tensor.required and binding.names[key]
    }
    if cross and cross == missing and len(missing) == len(problems):
        return (
            "The decoder has no cross-attention at all: these are two models, not yet an encoder-decoder.\n"
            "`ckptconv join ENCODER DECODER OUT` makes one of them."
        )
    if any(problem.kind == "shape" for problem in problems):
        return "The config and the tensors contradict each other: is this config.json the one of these weights?"
    return "Nothing was written. A checkpoint must hold what its config says, and nothing else."


def widening_notice(plan: Plan, form: str) -> Iterator[str]:
    """Say which dtypes the target's format has no type for."""
    pairs = {
        (move.source.spec.dtype, move.target.dtype)
        for move in plan.moves
        if move.source and move.source.spec.dtype != move.target.dtype
    }
    for source_dtype, written in sorted(pairs):
        yield f"{form} has no {source_dtype}: written as {written}, every value kept"
