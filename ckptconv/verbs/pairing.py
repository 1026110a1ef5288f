"""Two checkpoints side by side: each tensor of the tables, as each of the two holds it.

A checkpoint may be of any naming, whole or an encoder or a decoder alone, healed for Flax or not; what is
absent is absent, and no error here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckptconv.base.errors import PlanError, Problem, SourceError
from ckptconv.binding.moves import Equality, Move
from ckptconv.compare.comparison import Case
from ckptconv.schema.config import Config
from ckptconv.schema.families import families
from ckptconv.schema.fixes import Healed
from ckptconv.schema.models.pair import compose, recorded, unhealed
from ckptconv.schema.models.sides import decoder_modules, encoder_modules, read_side
from ckptconv.schema.namings import namings
from ckptconv.schema.tensors import Row, expand
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.tensor import FLOATS, Stored, TensorSpec
from ckptconv.verbs.parts import assign


@dataclass(slots=True)
class Held:
    """One checkpoint's tensors, by row."""

    path: Path
    config: Config
    """As it was before any healing."""
    naming: NamingName
    what: str
    """The pair, or the model type and its side."""
    side: str = ""
    """encoder or decoder where this is one model alone."""
    rows: Mapping[str, Row] = field(default_factory=dict)
    own: dict[str, Stored] = field(default_factory=dict)
    """Row key -> the tensor stored under one of its names."""
    unknown: dict[str, Stored] = field(default_factory=dict)
    """Tensors that no table knows, by name."""
    healed: dict[str, Healed] = field(default_factory=dict)
    """Row key -> what was healed."""
    twins: dict[str, list[str]] = field(default_factory=dict)
    """Row key -> keys of the rows that share its tensor."""

    def source(self, key: str) -> tuple[str, Stored] | None:
        """Return where a row's values are: its own tensor, or one that it shares or must repeat; with its key."""
        row = self.rows.get(key)
        keys = [key]
        if row and row.tied_to and (row.shares or self.naming not in row.spellings):
            keys.append(row.tied_to)
        keys += [twin for one in tuple(keys) for twin in self.twins.get(one, ())]
        return next(((one, self.own[one]) for one in keys if one in self.own), None)

    def axes(self, key: str, owner: str) -> tuple[str, ...]:
        """Return the axes of the tensor that holds a row's values, in the row's own labels."""
        row = self.rows[key]
        kept = row.module.kind == self.rows[owner].module.kind
        naming: NamingName = self.naming if kept and self.naming in row.spellings else "pytorch"
        return row.spellings[naming].axes

    def equalities(self, key: str) -> Iterator[Equality]:
        """List the rows that a healing repeated in a table: only equal ones can be undone."""
        why = "healing made them of one row, and only equal rows can be made one again"
        healed = self.healed.get(key)
        for run in healed.repeated if healed else ():
            first = self.own[key].rows(run.start, run.stop - 1)
            yield Equality(first, self.own[key].rows(run.start + 1, run.stop), "not equal", why)


def hold(checkpoint: Checkpoint) -> Held:
    """Give every tensor of a checkpoint its row.

    Raises: SourceError: no table for it. PlanError: tensors that contradict the config, or one of them twice.
    """
    if checkpoint.config.get("model_type") in families():
        return _hold_part(checkpoint)
    config = unhealed(checkpoint.config)
    composition = compose(config)
    held = Held(checkpoint.path, config, checkpoint.weights.naming, composition.pair)
    held.healed = {f"{one.module}.weight": one for one in recorded(composition, checkpoint.config)}
    return _filled(held, composition.rows(), checkpoint.weights.tensors)


def _hold_part(checkpoint: Checkpoint) -> Held:
    """Hold an encoder or a decoder alone, under the names of a whole."""
    one, naming = read_side(checkpoint.config), checkpoint.weights.naming
    if naming != "pytorch":
        raise SourceError(
            f"{checkpoint.path}: an encoder or a decoder alone is read from PyTorch's weights; these are {naming}'s."
        )
    family = one.family
    if family.decoder and (one.config.flag("is_decoder") or family.encoder is None):
        stack, head = decoder_modules(one, family.decoder)
        side, modules = "decoder", (*stack, *head)
    elif family.encoder:
        side, modules = "encoder", tuple(encoder_modules(one, family.encoder))
    else:
        raise SourceError(f"{one.config.where}: no table for {family.model_type!r} alone.")
    rows = expand(modules, namings())
    held = Held(checkpoint.path, checkpoint.config, naming, f"{family.model_type} {side}", side)
    index, unused = assign(rows, side, checkpoint.weights.tensors, family.base)
    rest = {f"{side}.{name}": checkpoint.weights.tensors[name] for name in unused}
    return _filled(held, rows, {**index, **rest})


def _filled(held: Held, rows: Iterable[Row], tensors: Mapping[str, Stored]) -> Held:
    """Sort the tensors into the rows."""
    held.rows = {row.key: row for row in rows}
    names = {
        name: row
        for row in held.rows.values()
        if held.naming in row.spellings
        for name in row.spellings[held.naming].names
    }
    for row in held.rows.values():
        if row.tied_to and row.shares:
            held.twins.setdefault(row.tied_to, []).append(row.key)
    problems = []
    for name, stored in tensors.items():
        if name not in names:
            held.unknown[name] = stored
        elif (key := names[name].key) in held.own:
            problems.append(
                Problem("duplicate", name, f"the same tensor as {held.own[key].spec.name}")
            )
        else:
            held.own[key] = stored
            problems += _misfits(held, names[name], stored.spec)
    if problems:
        raise PlanError(str(held.path), problems, "Is this config.json the one of these weights?")
    return held


def _misfits(held: Held, row: Row, spec: TensorSpec) -> Iterator[Problem]:
    """Compare a tensor with what its own config says."""
    if row.module.presence == "dropped":
        return
    expected = row.shape(held.naming)
    if row.key in held.healed:
        expected = (held.healed[row.key].count, *expected[1:])
    if spec.shape != expected:
        yield Problem("shape", spec.name, f"expected {list(expected)}, found {list(spec.shape)}")
    if spec.dtype not in FLOATS:
        yield Problem(
            "dtype", spec.name, f"expected one of {', '.join(FLOATS)}, found {spec.dtype}"
        )


def paired(key: str, first: Held, second: Held) -> Case | None:
    """Return how one row's tensor is compared; None where the two have it in different sizes."""
    one, other = first.source(key), second.source(key)
    assert one is not None
    assert other is not None
    row, twin = first.rows[key], second.rows[key]
    axes, wanted = first.axes(key, one[0]), second.axes(key, other[0])
    kept = [axis for axis in axes if axis != "1"]
    if any(row.sizes[axis] != twin.sizes.get(axis) for axis in kept):
        return None
    order = tuple(kept.index(axis) for axis in wanted if axis != "1")
    made, healed = first.healed.get(one[0]), second.healed.get(other[0])
    ranges = () if made == healed else made.inverse if made else healed.rows if healed else ()
    spec = TensorSpec(other[1].spec.name, one[1].spec.dtype, other[1].spec.shape)
    permutation = () if order == tuple(range(len(order))) else order
    move = Move(
        row, spec, one[1], None, tuple(row.sizes[axis] for axis in kept), permutation, ranges
    )
    return Case(move, other[1], wanted, row.tied_to if row.module.tied else None)
