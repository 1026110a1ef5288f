"""`diff`: how do the weights of two checkpoints differ? Across formats and frameworks, name by name, in one pass.

What both have is compared, whatever else they are: two architectures may share an encoder. A part is compared
with the same part of a whole. A cast is told, and no difference; a key of the config that changes answers is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.counting import counted
from ckptconv.base.errors import SourceError
from ckptconv.compare.comparison import Case, Outcome, compare
from ckptconv.compare.configs import ConfigDifference, config_differences
from ckptconv.compare.relation import Figures, Relation, Sums
from ckptconv.compare.weights import check_equal
from ckptconv.schema.config import Config
from ckptconv.schema.tensors import Row
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint
from ckptconv.stores.hub import resolve
from ckptconv.stores.parsers.checksums import require_checksums
from ckptconv.transfer.pieces import OpenFiles
from ckptconv.verbs.alignment import UNKNOWN, Aligned, Alone, align, only_in
from ckptconv.verbs.pairing import Held, hold

Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """One tensor of the tables, or one that no table knows, in both checkpoints."""

    key: str
    """PyTorch's name in the whole."""
    part: str
    """encoder, cross-attention, decoder, head, bridge; `unknown` where no table knows the tensor."""
    layer: str
    """`layer 3`, `embeddings`, or empty for what lies in neither."""
    first: str
    """As the first checkpoint spells it; empty where it has none."""
    second: str
    parameters: int
    relation: Relation | None
    """None where every bit is the same."""
    sums: Sums

    @property
    def differs(self) -> bool:
        """True where the values differ by more than a cast."""
        return self.relation is not None and self.relation.kind != "cast"

    @property
    def verdict(self) -> str:
        """`equal`, or the kind of the relation."""
        return self.relation.kind if self.relation else "equal"


@dataclass(frozen=True, slots=True)
class LayerDiff:
    """All tensors of one part in one layer."""

    part: str
    layer: str
    tensors: int
    differing: int
    parameters: int
    figures: Figures
    """Over what both checkpoints have."""


@dataclass(frozen=True, slots=True)
class Diff:
    """What `diff` found."""

    first: Path
    second: Path
    models: tuple[str, str]
    """Which model each is: the pair of types, or a type and its side."""
    forms: tuple[str, str]
    """Naming and format of each."""
    tensors: tuple[TensorDiff, ...]
    """In the order of the tables."""
    config: tuple[ConfigDifference, ...]
    nbytes: int
    """Bytes of the second checkpoint's tensors that were compared."""
    notices: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """True where both hold the same values, but for casts, and say the same; never for nothing compared."""
        return (
            bool(self.tensors) and not self.config and not any(one.differs for one in self.tensors)
        )

    @property
    def worst_first(self) -> tuple[TensorDiff, ...]:
        """The tensors that differ: what one side lacks, then by relative change."""
        return tuple(sorted((one for one in self.tensors if one.differs), key=_distance))

    @property
    def layers(self) -> tuple[LayerDiff, ...]:
        """The tensors by part and layer."""
        groups: dict[tuple[str, str], list[TensorDiff]] = {}
        for one in self.tensors:
            groups.setdefault((one.part, one.layer), []).append(one)
        return tuple(_layer_diff(*place, members) for place, members in groups.items())


def diff(
    first: Path | str, second: Path | str, progress: Progress = lambda done, total: None
) -> Diff:
    """Compare the weights of two checkpoints of any namings and formats, and what their configs say.

    Args: progress: called with bytes done and bytes to do.
    Raises: SourceError: one of the two is no checkpoint, contradicts its own config, or they share no tensor.
    """
    first, second = Path(first), Path(second)
    opened = open_checkpoint(resolve(first)), open_checkpoint(resolve(second))
    one, other = hold(opened[0]), hold(opened[1])
    aligned = align(one, other)
    if not aligned.cases:
        raise SourceError(
            f"{first} ({one.what}) and {second} ({other.what}) have no tensor of one name and shape to compare."
        )
    require_checksums(
        [stored for checkpoint in opened for stored in checkpoint.weights.tensors.values()]
    )
    check_equal([pair for key in aligned.reordered for pair in one.equalities(key)])
    nbytes = sum(case.found.spec.nbytes for case in aligned.cases)
    with OpenFiles() as files:
        outcomes = compare(aligned.cases, files, counted(progress, nbytes))
    compared = (
        _compared(case, found, aligned) for case, found in zip(aligned.cases, outcomes, strict=True)
    )
    tensors = (*compared, *map(_alone, aligned.alone))
    order = {key: number for number, key in enumerate({**one.rows, **other.rows})}
    return Diff(
        first=first,
        second=second,
        models=(one.what, other.what),
        forms=(_form(opened[0]), _form(opened[1])),
        tensors=tuple(sorted(tensors, key=lambda line: order.get(line.key, len(order)))),
        config=config_differences(*_configs(one, other)),
        nbytes=nbytes,
        notices=aligned.notices,
    )


def _form(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.weights.naming} {checkpoint.weights.format.name}"


def _configs(one: Held, other: Held) -> tuple[Config, Config]:
    """Return the configs to compare: of a part and the same part of a whole."""
    side = one.side or other.side
    first, second = (
        held.config.part(side) if side and not held.side else held.config for held in (one, other)
    )
    return first, second


def _compared(case: Case, outcome: Outcome, aligned: Aligned) -> TensorDiff:
    """Return the line of a tensor that was compared."""
    source, found = case.move.source, case.found.spec.name
    names = (source.spec.name if source else "", found)
    relation, row = outcome.relation, case.move.row
    if row.key in aligned.zeros:
        side = aligned.zeros[row.key]
        names = (found, "") if side == "A" else ("", found)
        relation = relation and only_in(side, case.found)
    return TensorDiff(
        row.key,
        row.module.part,
        layer_of(row),
        *names,
        case.found.spec.numel,
        relation,
        outcome.sums,
    )


def _alone(one: Alone) -> TensorDiff:
    """Return the line of a tensor that cannot be compared."""
    first, second = (stored.spec.name if stored else "" for stored in (one.first, one.second))
    parameters = max(stored.spec.numel for stored in (one.first, one.second) if stored)
    part = one.row.module.part or UNKNOWN
    return TensorDiff(
        one.row.key, part, layer_of(one.row), first, second, parameters, one.relation, Sums()
    )


def layer_of(row: Row) -> str:
    """Return the layer of a row as tables show it: the first number of its path, or that it is an embedding."""
    levels = row.key.split(".")
    number = next((level for level in levels if level.isdigit()), None)
    if number is not None:
        return f"layer {number}"
    return "embeddings" if "embedding" in row.module.kind or "embeddings" in levels else ""


def _layer_diff(part: str, layer: str, members: Sequence[TensorDiff]) -> LayerDiff:
    total = Sums()
    for one in members:
        total += one.sums
    differing, parameters = (
        sum(one.differs for one in members),
        sum(one.parameters for one in members),
    )
    return LayerDiff(part, layer, len(members), differing, parameters, total.figures)


def _distance(one: TensorDiff) -> tuple[bool, float, str]:
    """Return the order of what differs: what cannot be compared, then the largest relative change."""
    figures = one.relation.figures if one.relation else None
    return (False, 0.0, one.key) if figures is None else (True, -figures.relative, one.key)
