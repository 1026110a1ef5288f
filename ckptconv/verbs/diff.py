"""`diff`: how do the weights of two checkpoints differ? Across formats and frameworks, name by name, in one pass.

What both have is compared, whatever else they are: two architectures may share an encoder. A part is compared
with the same part of a whole. A cast is told, and no difference; a key of the config that changes answers is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.errors import PlanError, SourceError
from ckptconv.base.results import PagedResult
from ckptconv.base.workers import counted
from ckptconv.binding.align import UNKNOWN, Alignment, Letter, TensorPair, Unpaired, align
from ckptconv.binding.bind import bind, bind_whole
from ckptconv.binding.identify import Identity, identify
from ckptconv.binding.plan import integer_constants
from ckptconv.compare.comparison import PairOutcome, check_constants, check_equal, compare
from ckptconv.compare.configs import (
    ConfigDifference,
    config_differences,
    differing_settings,
    tokenizer_notices,
)
from ckptconv.compare.stream import Figures, Kind, Relation, Sums
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.artefact import artefact_notices, is_artefact, read_artefact
from ckptconv.stores.checkpoint import Checkpoint, open_any
from ckptconv.stores.hub import is_address, resolve
from ckptconv.stores.tensor import Stored, require_checksums
from ckptconv.transfer.pieces import OpenFiles
from ckptconv.verbs.planning import (
    Positions,
    fixes_of_both,
    never_healed_notices,
    require_positions,
)

ONE_PIECE = "one piece"
"""The kind of a model that one class holds, see `MODELS`."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Diff(PagedResult):
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
            bool(self.tensors)
            and not self.config
            and not any(tensor.differs for tensor in self.tensors)
        )

    @property
    def worst_first(self) -> tuple[TensorDiff, ...]:
        """The tensors that differ: what one side lacks, then by relative change."""
        return tuple(sorted((tensor for tensor in self.tensors if tensor.differs), key=_distance))

    @property
    def layers(self) -> tuple[LayerDiff, ...]:
        """The tensors by part and layer."""
        groups: dict[tuple[str, str], list[TensorDiff]] = {}
        for tensor in self.tensors:
            groups.setdefault((tensor.part, tensor.layer), []).append(tensor)
        return tuple(_layer_diff(*place, members) for place, members in groups.items())


def diff(
    first: Path | str,
    second: Path | str,
    progress: Progress = lambda done, total: None,
    *,
    positions: Positions | None = None,
) -> Diff:
    """Compare the weights of two checkpoints of any namings and formats, and what their configs say.

    Args: progress: called with bytes done and bytes to do.
    positions: how the tables of a RoBERTa-like Flax model without a record count, see `flax2pt`.
    Raises: SourceError: one of the two is no checkpoint, contradicts its own config, or they share no tensor.
    """
    require_positions(positions)
    opened = open_any(resolve(first)), open_any(resolve(second))
    first, second = (
        checkpoint.path if is_address(name) else Path(name)
        for name, checkpoint in zip((first, second), opened, strict=True)
    )
    left, right = _identified_alike(*opened)
    part = _common_part(first, left, second, right)
    left, right = _positioned(opened, (left, right), positions)
    aligned = _comparable(align(left.binding, right.binding, part), opened)
    if not aligned.pairs:
        raise SourceError(
            f"{first} ({left.description}) and {second} ({right.description})"
            " have no tensor with the same name and shape."
        )
    require_checksums(
        [stored for checkpoint in opened for stored in checkpoint.weights.tensors.values()]
    )
    check_equal([pair for key in aligned.reordered for pair in left.binding.repeated_rows(key)])
    check_constants([*integer_constants(left.binding)])
    nbytes = sum(pair.stored.spec.nbytes for pair in aligned.pairs)
    with OpenFiles() as files:
        outcomes = compare(aligned.pairs, files, counted(progress, nbytes))
    compared = (
        _compared(pair, outcome, aligned)
        for pair, outcome in zip(aligned.pairs, outcomes, strict=True)
    )
    tensors = (*compared, *map(_alone, aligned.unpaired))
    keys = {**left.binding.tensors, **right.binding.tensors}
    order = {key: number for number, key in enumerate(keys)}
    return Diff(
        first=first,
        second=second,
        models=(left.description, right.description),
        forms=(_form(opened[0]), _form(opened[1])),
        tensors=tuple(sorted(tensors, key=lambda line: order.get(line.key, len(order)))),
        config=_config_differences(opened, (left, right), part),
        nbytes=nbytes,
        notices=tuple(_remarks(opened, (left, right), aligned)),
    )


def _remarks(
    opened: tuple[Checkpoint, Checkpoint],
    identities: tuple[Identity, Identity],
    aligned: Alignment,
) -> Iterator[str]:
    """Say what a reader of the differences should know of both, and of how they were compared."""
    for checkpoint in opened:
        yield from checkpoint.notices
    for identity, checkpoint in zip(identities, opened, strict=True):
        yield from never_healed_notices(identity.model, checkpoint)
    yield from artefact_notices(checkpoint.path for checkpoint in opened)
    yield from _by_name_notice(*identities)
    yield from _notices(aligned)
    yield from tokenizer_notices(opened[0].path, opened[1].path, ("A", "B"))


def _identified_alike(first: Checkpoint, second: Checkpoint) -> tuple[Identity, Identity]:
    """Return what both are; where no table knows one of them, both by the names of their tensors alone.

    So are a side of one piece and a whole of one piece, which have one name for a tensor.

    Raises: SourceError: of different frameworks, so that names tell nothing. PlanError: as `_identified`.
    """
    identities = identify(first), identify(second)
    refusals = [identity.refusal for identity in identities if identity.refusal]
    one_piece = [identity.kind == ONE_PIECE for identity in identities]
    part = [identity.is_part for identity in identities]
    side_of_one = any(one_piece) and any(part) and first.weights.naming == second.weights.naming
    if not refusals and not side_of_one:
        return _identified(first), _identified(second)
    if first.weights.naming != second.weights.naming:
        raise SourceError(refusals[0])
    left, right = (_by_name(checkpoint) for checkpoint in (first, second))
    return left, right


def _by_name(checkpoint: Checkpoint) -> Identity:
    """Return a checkpoint as one of which no table knows anything."""
    nothing = bind((), checkpoint.weights.tensors, checkpoint.weights.naming)
    label = checkpoint.config.stated("model_type") or "unknown model"
    return Identity("other", nothing, label, config=checkpoint.config)


def _identified(checkpoint: Checkpoint) -> Identity:
    """Return what a checkpoint is.

    Raises: PlanError: tensors that contradict its config, or one of them twice.
    """
    identity = identify(checkpoint)
    problems = [problem for problem in identity.binding.misfits() if problem.kind != "unexpected"]
    if problems:
        hint = "Is this config.json the one of these weights?"
        raise PlanError(str(checkpoint.path), problems, hint)
    return identity


def _positioned(
    checkpoints: tuple[Checkpoint, Checkpoint],
    identities: tuple[Identity, Identity],
    positions: Positions | None,
) -> tuple[Identity, Identity]:
    """Return both with the tables of positions as they count.

    Raises: SourceError: one of the two does not say how, and nobody else does.
    """
    models = identities[0].model, identities[1].model
    fixes = fixes_of_both(models, checkpoints, positions)
    left, right = (
        replace(identity, binding=bind_whole(identity.model, checkpoint, mended))
        if mended and identity.model
        else identity
        for identity, checkpoint, mended in zip(identities, checkpoints, fixes, strict=True)
    )
    return left, right


def _common_part(first: Path, left: Identity, second: Path, right: Identity) -> str:
    """Return the part that is compared; empty for whole models.

    Raises: SourceError: one is an encoder, the other a decoder.
    """
    parts = {identity.kind for identity in (left, right) if identity.is_part}
    if len(parts) > 1:
        raise SourceError(
            f"{first} is a {left.description}, {second} a {right.description}: there is nothing to compare."
        )
    return parts.pop() if parts else ""


def _notices(aligned: Alignment) -> tuple[str, ...]:
    """Say what was not compared and is no difference."""
    reasons = {
        "in neither of the two, though the config asks for it": aligned.absent,
        "skipped: no counterpart in the other framework": aligned.without_place,
    }
    return tuple(
        f"{keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}: {why}"
        for why, keys in reasons.items()
        if keys
    )


def _by_name_notice(left: Identity, right: Identity) -> tuple[str, ...]:
    if left.kind != "other" and right.kind != "other":
        return ()
    configs = (left.config, right.config)
    known = all(config and config.get("model_type") in [*FAMILIES] for config in configs)
    why = "a side of one piece by itself, and another" if known else "no table knows the model"
    return (f"{why}: tensors are compared by their names alone",)


def _form(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.weights.naming} {checkpoint.weights.format.name}"


def _config_differences(
    opened: tuple[Checkpoint, Checkpoint], identities: tuple[Identity, Identity], part: str
) -> tuple[ConfigDifference, ...]:
    """Return the keys that matter and differ; of whole models those of generation too, as `verify` does."""
    if not part:
        return differing_settings(*opened)
    left, right = (_config(identity, part) for identity in identities)
    return config_differences(left, right)


def _config(identity: Identity, part: str) -> Config:
    """Return the config to compare: of a part, or the same part's of a whole."""
    assert identity.config is not None
    return identity.config.part(part) if part and not identity.is_part else identity.config


def _compared(pair: TensorPair, outcome: PairOutcome, aligned: Alignment) -> TensorDiff:
    """Return the line of a tensor that was compared."""
    source, stored = pair.move.source, pair.stored.spec
    names = (source.spec.name if source else "", stored.name)
    relation, tensor = outcome.relation, pair.move.tensor
    if tensor.key in aligned.zeros:
        letter = aligned.zeros[tensor.key]
        names = (stored.name, "") if letter == "A" else ("", stored.name)
        relation = relation and only_in(letter, pair.stored)
    part, layer = tensor.module.part, layer_of(tensor)
    return TensorDiff(tensor.key, part, layer, *names, stored.numel, relation, outcome.sums)


def _comparable(aligned: Alignment, opened: tuple[Checkpoint, Checkpoint]) -> Alignment:
    """Leave out what one side lacks since an artefact's converter made others of it, which a notice says."""
    converted = [
        {*read_artefact(each.path).converted} if is_artefact(each.path) else set[str]()
        for each in opened
    ]
    lost = dict(zip(("A", "B"), converted, strict=True))
    if not any(converted):
        return aligned

    def is_lost(tensor: SchemaTensor, lacks: Letter) -> bool:
        return not lost[lacks].isdisjoint((tensor.key, *tensor.names_in("pytorch")))

    pairs = [
        pair
        for pair in aligned.pairs
        if (holder := aligned.zeros.get(pair.move.tensor.key)) is None
        or not is_lost(pair.move.tensor, "B" if holder == "A" else "A")
    ]
    unpaired = [
        each
        for each in aligned.unpaired
        if not (each.first is None and is_lost(each.tensor, "A"))
        and not (each.second is None and is_lost(each.tensor, "B"))
    ]
    return replace(aligned, pairs=pairs, unpaired=unpaired)


def _alone(unpaired: Unpaired) -> TensorDiff:
    """Return the line of a tensor that cannot be compared."""
    tensor, ends = unpaired.tensor, (unpaired.first, unpaired.second)
    first, second = (stored.spec.name if stored else "" for stored in ends)
    parameters = max(stored.spec.numel for stored in ends if stored)
    part = tensor.module.part or UNKNOWN
    relation = _relation(unpaired)
    return TensorDiff(
        tensor.key, part, layer_of(tensor), first, second, parameters, relation, Sums()
    )


def _relation(unpaired: Unpaired) -> Relation:
    """Say that only one side has a tensor, or that the two cannot be compared element by element."""
    first, second = unpaired.first, unpaired.second
    if first and second is None:
        return only_in("A", first)
    if second and first is None:
        return only_in("B", second)
    shapes = (
        f"{stored.spec.dtype} {list(stored.spec.shape)}" if stored else "its twin"
        for stored in (first, second)
    )
    return Relation("shape", " in A, ".join(shapes) + " in B")


def only_in(letter: Letter, stored: Stored) -> Relation:
    """Return the relation of a tensor that the other checkpoint lacks."""
    kinds: Mapping[Letter, Kind] = {"A": "only in A", "B": "only in B"}
    return Relation(
        kinds[letter], f"only in {letter}: {stored.spec.dtype} {list(stored.spec.shape)}"
    )


def layer_of(tensor: SchemaTensor) -> str:
    """Return the layer of a tensor as tables show it: its number, or that it is an embedding."""
    if tensor.layer is not None:
        return f"layer {tensor.layer}"
    return "embeddings" if tensor.is_embedding else ""


def _layer_diff(part: str, layer: str, members: Sequence[TensorDiff]) -> LayerDiff:
    total = Sums()
    for tensor in members:
        total += tensor.sums
    differing, parameters = (
        sum(tensor.differs for tensor in members),
        sum(tensor.parameters for tensor in members),
    )
    return LayerDiff(part, layer, len(members), differing, parameters, total.figures)


def _distance(tensor: TensorDiff) -> tuple[bool, float, str]:
    """Return the order of what differs: what cannot be compared, then the largest relative change."""
    figures = tensor.relation.figures if tensor.relation else None
    return (False, 0.0, tensor.key) if figures is None else (True, -figures.relative, tensor.key)
