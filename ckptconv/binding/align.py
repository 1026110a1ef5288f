"""Two bindings side by side: which tensors are compared, by which move, and what only one of the two has.

The two may be of any naming, whole or a part alone, mended or not; what is absent is absent, and no error here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from ckptconv.binding.bind import Binding
from ckptconv.binding.plan import Fill, Move, Rows, ops_between
from ckptconv.schema.tensors import Module, SchemaTensor
from ckptconv.stores.tensor import FLOATS, Stored, TensorSpec

Letter: TypeAlias = Literal["A", "B"]
UNKNOWN = "unknown"
"""The part of a tensor that no schema has."""


@dataclass(frozen=True, slots=True)
class TensorPair:
    """One tensor of two checkpoints: how it is made of the first, and what the second holds."""

    move: Move
    stored: Stored
    labels: tuple[str, ...] = ()
    """What the schema calls the axes of the second's tensor."""
    repeats: str | None = None
    """Key of the tensor that this one shares its values with, where the config ties them."""


@dataclass(frozen=True, slots=True)
class Unpaired:
    """A tensor that has nothing to be compared with, or only what is of another shape."""

    tensor: SchemaTensor
    first: Stored | None
    second: Stored | None


@dataclass(slots=True)
class Alignment:
    """Every tensor of two bindings, sorted."""

    pairs: list[TensorPair] = field(default_factory=list)
    unpaired: list[Unpaired] = field(default_factory=list)
    zeros: dict[str, Letter] = field(default_factory=dict)
    """Key of a tensor whose absence means zeros, or what a formula gives, and is compared with those -> who has it."""
    absent: list[str] = field(default_factory=list)
    """Keys that neither has, and the config asks for."""
    without_place: list[str] = field(default_factory=list)
    """Keys that one has and the other's framework has no place for."""

    @property
    def reordered(self) -> list[str]:
        """Keys of the tables whose rows move to be compared, since one side is mended and the other is not."""
        return [pair.move.tensor.key for pair in self.pairs if pair.move.rows]


def align(first: Binding, second: Binding, part: str = "") -> Alignment:
    """Sort the tensors of two bindings; buffers, which every model makes anew, are left out.

    Args: part: compare only what lies below this level of the whole.
    """
    alignment = Alignment()
    for key, tensor in {**second.tensors, **first.tensors}.items():
        if not tensor.is_buffer and key.startswith(part):
            _sort(key, tensor, first, second, alignment)
    _sort_unknown(first, second, part, alignment)
    return alignment


def _sort(
    key: str, tensor: SchemaTensor, first: Binding, second: Binding, alignment: Alignment
) -> None:
    """Sort one tensor of the schemas."""
    sources = first.source(key), second.source(key)
    if tensor.integers(second.naming):
        _hold_integers(key, tensor, second, alignment)
    elif key not in first.stored and key not in second.stored:
        if not any(sources) and tensor.required:
            alignment.absent.append(key)
    elif all(sources) and key in first.tensors and key in second.tensors:
        pair = _pair(key, first, second)
        if pair:
            alignment.pairs.append(pair)
        else:
            alignment.unpaired.append(
                Unpaired(tensor, first.stored.get(key), second.stored.get(key))
            )
    else:
        _sort_one_sided(key, tensor, first, second, alignment)


def _hold_integers(key: str, tensor: SchemaTensor, second: Binding, alignment: Alignment) -> None:
    """Hold integers that follow from the config against it: their width is each framework's own."""
    stored = second.stored.get(key)
    if stored is not None and not [*second.misfit(key)]:
        fill = Fill(why=tensor.module.why, formula=tensor.module.formula)
        labels = tensor.spellings[second.naming].axes
        alignment.pairs.append(
            TensorPair(Move(tensor, stored.spec, None, fill=fill), stored, labels)
        )


def _pair(key: str, first: Binding, second: Binding) -> TensorPair | None:
    """Return how one tensor is compared; None where the two have it in different sizes, or of no such type."""
    owners = first.owner(key), second.owner(key)
    assert owners[0] is not None
    assert owners[1] is not None
    left, right = first.stored[owners[0]], second.stored[owners[1]]
    tensor, twin = first.tensors[key], second.tensors[key]
    axes, labels = first.axes(key), second.axes(key)
    sizes = {label: size for label, size in tensor.sizes.items() if label in axes}
    if any(size != twin.sizes.get(label) for label, size in sizes.items()):
        return None
    if not _fits(first, owners[0], left) or not _fits(second, owners[1], right):
        return None
    spec = TensorSpec(right.spec.name, left.spec.dtype, right.spec.shape)
    before, after = first.fixes.get(owners[0]), second.fixes.get(owners[1])
    undone = before.inverse if before and before != after else ()
    ops = ops_between(axes, left.spec.shape, labels, undone)
    if after and before != after:
        ops = (*ops, Rows(after.rows))
    move = Move(tensor, spec, left, ops)
    return TensorPair(move, right, labels, tensor.tied_to if tensor.module.tied else None)


def _fits(binding: Binding, owner: str, stored: Stored) -> bool:
    """Tell whether a tensor has the shape that its own config asks for, and a type that can be compared."""
    return stored.spec.shape == binding.shape(owner) and stored.spec.dtype in FLOATS


def _sort_one_sided(
    key: str, tensor: SchemaTensor, first: Binding, second: Binding, alignment: Alignment
) -> None:
    """Sort a tensor that one of the two has."""
    sides: tuple[tuple[Letter, Binding, Binding], ...] = (
        ("A", first, second),
        ("B", second, first),
    )
    letter, holder, lacking = next(side for side in sides if key in side[1].stored)
    stored = holder.stored[key]
    schema, formula = key in lacking.tensors, tensor.module.formula
    if schema and not lacking.names[key] and formula is None:
        alignment.without_place.append(key)
    elif schema and tensor.module.presence in ("zeros", "made"):
        alignment.zeros[key] = letter
        move = Move(tensor, stored.spec, None, fill=Fill(why=tensor.module.why, formula=formula))
        alignment.pairs.append(TensorPair(move, stored, tensor.spellings[holder.naming].axes))
    else:
        ends = (stored, None) if letter == "A" else (None, stored)
        alignment.unpaired.append(Unpaired(tensor, *ends))


def _sort_unknown(first: Binding, second: Binding, part: str, alignment: Alignment) -> None:
    """Compare tensors that no schema has by their names alone, where both are of one naming."""
    for name in sorted({*first.unknown, *second.unknown}):
        left, right = first.unknown.get(name), second.unknown.get(name)
        if not name.startswith(part):
            continue
        module = Module("parameter", {}, {}, ("value",), part=UNKNOWN)
        tensor = SchemaTensor(name, {}, {}, module)
        if left is None or right is None or first.naming != second.naming:
            alignment.unpaired += [Unpaired(tensor, left, None)] if left else []
            alignment.unpaired += [Unpaired(tensor, None, right)] if right else []
        elif not _alike(left.spec, right.spec):
            alignment.unpaired.append(Unpaired(tensor, left, right))
        else:
            spec = replace(right.spec, dtype=left.spec.dtype)
            alignment.pairs.append(TensorPair(Move(tensor, spec, left), right))


def _alike(left: TensorSpec, right: TensorSpec) -> bool:
    """Tell whether two tensors of one name can be compared: of one shape, and of one type or both of floats."""
    floats = left.dtype in FLOATS and right.dtype in FLOATS
    return left.shape == right.shape and (left.dtype == right.dtype or floats)
