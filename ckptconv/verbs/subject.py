"""What the tables say of a checkpoint: a pair, one model alone, a bridge, or something that they do not know.

One model alone gets the rows that it would have in a pair, as `join` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from ckptconv.base.errors import PlanError, Problem, SourceError
from ckptconv.binding.plan import make_plan
from ckptconv.schema.families import families
from ckptconv.schema.family import Encoder
from ckptconv.schema.models.pair import compose, recorded, unhealed
from ckptconv.schema.models.sides import Side, decoder_modules, encoder_modules, read_side
from ckptconv.schema.namings import namings
from ckptconv.schema.tensors import Row, expand
from ckptconv.schema.vocabulary import Module, NamingName, linear, part
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.verbs.inspection import Kind, Role

BRIDGE_TYPE = "ckptconv-bridge"
"""Model type that `split` gives the directory of a projection."""
MADE_ANEW = ("cross-attention", "head")
"""What a model may lack as a whole to be joined: `join` makes it."""
ROLES: tuple[Role, ...] = ("encoder", "decoder")
AN: Mapping[Role, str] = {"encoder": "an encoder", "decoder": "a decoder"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint as the tables see it."""

    kind: Kind
    pair: str = ""
    """The two model types, as in `bert -> gpt2`."""
    sides: Mapping[str, Side] = field(default_factory=dict)
    """The models that the checkpoint holds, by role."""
    rows: tuple[Row, ...] = ()
    names: Mapping[str, Row] = field(default_factory=dict)
    """Name that a tensor has or could have in the file -> its row."""
    problems: tuple[Problem, ...] = ()
    unused: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    """Parts that `join` would make: each with its number of tensors, in words."""
    refusal: str = ""


def subject(checkpoint: Checkpoint) -> Subject:
    """Return what the tables say; a refusal is part of the result."""
    model_type = checkpoint.config.get("model_type")
    if model_type == BRIDGE_TYPE:
        return _caught(_bridge, checkpoint)
    if not is_one_model(checkpoint):
        return _caught(_pair, checkpoint)
    found = [alone(checkpoint, role) for role in ROLES]
    return max(found, key=lambda one: _likeness(one, checkpoint))


def is_one_model(checkpoint: Checkpoint) -> bool:
    """Tell whether the config is that of one model which could be a side of a pair."""
    model_type = checkpoint.config.get("model_type")
    return isinstance(model_type, str) and model_type in families()


def alone(checkpoint: Checkpoint, role: Role) -> Subject:
    """Return what the tables say of one model as the encoder or the decoder of a pair."""
    return _caught(lambda one: _alone(one, role), checkpoint)


def _caught(make: Callable[[Checkpoint], Subject], checkpoint: Checkpoint) -> Subject:
    try:
        return make(checkpoint)
    except SourceError as error:
        return Subject("other", refusal=str(error))


def _likeness(found: Subject, checkpoint: Checkpoint) -> tuple[bool, bool, int]:
    """Say how well a role suits: a known one, one that reads an encoder, one with a place for most tensors."""
    reads = found.kind == "decoder" and checkpoint.config.get("add_cross_attention") is True
    return not found.refusal, reads, sum(name in found.names for name in checkpoint.weights.tensors)


def _pair(checkpoint: Checkpoint) -> Subject:
    composition = compose(unhealed(checkpoint.config))
    rows, naming = composition.rows(), checkpoint.weights.naming
    names = {
        name: row for row in rows if naming in row.spellings for name in row.spellings[naming].names
    }
    sides = {"encoder": composition.encoder, "decoder": composition.decoder}
    found = Subject("pair", composition.pair, sides, rows, names)
    healed = recorded(composition, checkpoint.config)
    try:
        make_plan(
            rows, checkpoint.weights.tensors, naming, "pytorch", what="", healed_source=healed
        )
    except PlanError as error:
        return replace(found, problems=error.problems)
    return found


def _bridge(checkpoint: Checkpoint) -> Subject:
    config = checkpoint.config
    widths = config.size("decoder_hidden_size"), config.size("encoder_hidden_size")
    rows = expand(part("bridge", [linear("enc_to_dec_proj", *widths)]), namings())
    names = {row.key.rpartition(".")[2]: row for row in rows}
    return _held(Subject("bridge", rows=rows, names=names), checkpoint)


def _alone(checkpoint: Checkpoint, role: Role) -> Subject:
    side = read_side(checkpoint.config)
    rows, naming = expand(_modules(side, role), namings()), checkpoint.weights.naming
    base = side.family.main_layer if naming == "tf" else side.family.base
    names = dict(_names(rows, role, base, naming))
    if naming == "tf":  # TF's classes put a level of the class's own name before all
        names |= {
            name: names[short]
            for name in checkpoint.weights.tensors
            if name not in names and (short := name.partition("/")[2]) in names
        }
    return _held(Subject(role, "", {role: side}, rows, names), checkpoint)


def _modules(side: Side, role: Role) -> Iterator[Module]:
    """Return the modules of a side, as `join` takes it. Raises SourceError: it cannot be on this side."""
    tables = side.family.encoder if role == "encoder" else side.family.decoder
    if tables is None:
        raise SourceError(f"{side.config.where}: {side.family.model_type!r} cannot be {AN[role]}.")
    if isinstance(tables, Encoder):
        return encoder_modules(side, tables)
    joined = {**side.config.values, "is_decoder": True, "add_cross_attention": True}
    return chain(
        *decoder_modules(replace(side, config=replace(side.config, values=joined)), tables)
    )


def _names(
    rows: tuple[Row, ...], side: str, base: str, naming: NamingName
) -> Iterator[tuple[str, Row]]:
    """Return the names of a part's tensors in a file of its own: as in the whole, with or without the base's level."""
    separator = namings()[naming].separator
    for row in rows:
        for name in row.spellings[naming].names if naming in row.spellings else ():
            short = name.removeprefix(side + separator)
            bare = short.removeprefix(base + separator)
            yield from ((one, row) for one in (short, bare, f"{base}{separator}{bare}"))


def _held(found: Subject, checkpoint: Checkpoint) -> Subject:
    """Hold the tensors of a part against its rows."""
    naming, tensors = checkpoint.weights.naming, checkpoint.weights.tensors
    own: dict[str, str] = {}
    problems: list[Problem] = []
    for name in tensors:
        row = found.names.get(name)
        whole = row.spellings[naming].names[0] if row else ""
        if whole in own:
            problems.append(Problem("duplicate", name, f"the same tensor as {own[whole]}"))
        elif row:
            own[whole] = name
    held = {found.names[name].module.part for name in own.values()}
    absent = {row.module.part for row in found.rows} & set(MADE_ANEW) - held
    index = {
        whole: replace(tensors[name], spec=tensors[name].spec.renamed(whole))
        for whole, name in own.items()
    }
    rows = [row for row in found.rows if row.module.part not in absent]
    try:
        make_plan(rows, index, naming, "pytorch", what="")
    except PlanError as error:
        side = found.kind + namings()[naming].separator
        problems += [
            replace(one, name=own.get(one.name, one.name.removeprefix(side)))
            for one in error.problems
        ]
    unused = tuple(sorted(set(tensors) - set(found.names)))
    return replace(
        found,
        problems=tuple(sorted(problems)),
        unused=unused,
        anew=tuple(_anew(found.rows, absent)),
    )


def _anew(rows: tuple[Row, ...], absent: set[str]) -> Iterator[str]:
    """Say what `join` would make."""
    for name in sorted(absent):
        count = sum(
            row.module.part == name and row.module.presence == "required" and not row.module.tied
            for row in rows
        )
        if count:
            yield f"{name}: {count} tensors would be drawn anew, or the cross-attention copied (--cross-attention self)"
