"""What a plan is made of: moves of tensors, and the conditions under which they are right. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ckptconv.binding.ops import Fill, Op, Permute, Rows
from ckptconv.schema.fixes import Healed, RowRange
from ckptconv.schema.formulas import Formula
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.tensor import Stored, TensorSpec


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
class Equality:
    """Two tensors of the source that must hold the same bytes for the plan to be right."""

    first: Stored
    second: Stored
    kind: Literal["not equal", "cannot hold"]
    """What it means if they do not: the source contradicts itself, or the target has no place."""
    why: str


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
