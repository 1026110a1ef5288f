"""What a checkpoint is: a whole model, one part alone, a bridge, or what no table knows; and its schema laid on it.

A part alone gets the tensors that it would have in a whole, as `join` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from ckptconv.base.errors import Problem, SourceError
from ckptconv.base.presence import lies_at
from ckptconv.binding.bind import Binding, bind, bind_whole, names_alone
from ckptconv.schema.config import DECODING, Config
from ckptconv.schema.family import FAMILIES, SideName, Standalone
from ckptconv.schema.model import (
    MODELS,
    ROLES,
    Model,
    Part,
    Role,
    read_model,
    read_part,
    require_elements,
    without_fixes,
)
from ckptconv.schema.models.pair import BRIDGE_TYPE, bridge
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.seq2seq import stands_alone
from ckptconv.schema.tensors import NamingName, SchemaTensor, expand
from ckptconv.stores.checkpoint import Checkpoint

MADE_ANEW = ("cross-attention", "head")
"""What a part may lack as a whole to be joined: `join` makes it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A checkpoint as the schemas see it."""

    kind: str
    """A kind of model, `encoder` or `decoder` for a part alone, `bridge`, or `other`."""
    binding: Binding
    """For `other`, of an empty schema: every tensor is unknown."""
    label: str = ""
    """The model types of a whole, as in `bert -> gpt2`; empty for all else."""
    model: Model | None = None
    """The whole that it is."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """The parts that the checkpoint holds, by name."""
    config: Config | None = None
    """As it was before any fix."""
    refusal: str = ""
    """Why no table can say anything."""

    @property
    def is_part(self) -> bool:
        """True for an encoder or a decoder alone."""
        return self.kind in ROLES

    @property
    def description(self) -> str:
        """The model types of a whole; the type of a part, and what it is."""
        if not self.is_part:
            return self.label or self.kind
        return f"{self.parts[self.kind].family.model_type} {self.kind}"

    @property
    def absent_sections(self) -> frozenset[str]:
        """What a part lacks as a whole, and `join` makes anew."""
        if not self.is_part:
            return frozenset()
        schema = self.binding.tensors
        present = {schema[key].module.part for key in self.binding.stored}
        return frozenset(
            {tensor.module.part for tensor in schema.values()} & {*MADE_ANEW} - present
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is missing or does not fit, sorted; of a whole also what is left over. None where it is complete."""
        if self.kind == "other":
            return ()
        if not (self.is_part or self.kind == "bridge"):
            return self.binding.problems()
        schema, absent = self.binding.tensors, self.absent_sections
        anew = [key for key, tensor in schema.items() if tensor.module.part in absent]
        return tuple(
            problem
            for problem in self.binding.problems(provided=anew)
            if problem.kind != "unexpected"
        )

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of a part's tensors that no whole has a place for, such as other heads."""
        part = self.is_part or self.kind == "bridge"
        return tuple(sorted(self.binding.unknown)) if part else ()

    @property
    def has_open_role(self) -> bool:
        """True for a model alone that is taken for a decoder by its head only: it could be an encoder as well."""
        if self.kind != "decoder" or self.config is None:
            return False
        reads = self.config.decoding or "cross-attention" not in self.absent_sections
        by_head = "head" not in self.absent_sections
        return by_head and not reads and self.parts[self.kind].family.encoder is not None

    def new_tensors(self) -> dict[str, int]:
        """Return what `join` would make -> its number of tensors."""
        schema = self.binding.tensors.values()
        counts = {
            section: sum(tensor.module.part == section and tensor.required for tensor in schema)
            for section in sorted(self.absent_sections)
        }
        return {section: count for section, count in counts.items() if count}


def identify(checkpoint: Checkpoint) -> Identity:
    """Return what the schemas say of a checkpoint; a refusal is part of the answer."""
    model_type = checkpoint.config.get("model_type")
    if model_type == BRIDGE_TYPE:
        return _caught(_bridge, checkpoint)
    if checkpoint.path in checkpoint.weights.files:
        return _caught(_file_alone, checkpoint)
    if not is_one_part(checkpoint):
        return _caught(identify_whole, checkpoint)
    identities = [identify_part(checkpoint, role) for role in ROLES]
    return max(identities, key=lambda identity: _likeness(identity, checkpoint))


def identify_alone(checkpoint: Checkpoint) -> Identity:
    """Return the same, and of what no pair can take which side of one piece it is, as the class of it loads it."""
    identity = identify(checkpoint)
    if not identity.refusal or not is_one_part(checkpoint):
        return identity
    whole = FAMILIES[str(checkpoint.config.get("model_type"))].whole
    sides = (
        {name: _side(checkpoint, name, side) for name, side in whole.sides.items()} if whole else {}
    )
    likely = max(sides.values(), key=lambda side: len(side.binding.stored), default=identity)
    return likely if likely.binding.stored else identity


def _side(checkpoint: Checkpoint, name: SideName, side: Standalone) -> Identity:
    """Return what the table of one side says of a checkpoint, under the names that its class has."""
    config, weights = checkpoint.config, checkpoint.weights
    whole = read_part(config, "whole", "")
    tensors = expand(side.modules(whole.config), NAMINGS)
    require_elements(tensors, config)
    binding = bind(tensors, weights.tensors, weights.naming)
    return Identity(name, binding, parts={name: replace(whole, name=name)}, config=config)


def is_one_part(checkpoint: Checkpoint) -> bool:
    """Tell whether the config is that of one model which could be a part of a whole."""
    model_type = checkpoint.config.get("model_type")
    if not isinstance(model_type, str):
        return False
    if model_type in MODELS and not stands_alone(checkpoint.config):
        return False
    return model_type in FAMILIES


def identify_whole(checkpoint: Checkpoint) -> Identity:
    """Return what the schemas say of a whole model.

    Raises: SourceError: another kind of model, or no table for it.
    """
    config = without_fixes(checkpoint.config)
    model = read_model(config)
    binding = bind_whole(model, checkpoint)
    kind = MODELS[str(config.get("model_type"))].kind
    return Identity(kind, binding, model.label, model, model.parts, config)


def _file_alone(checkpoint: Checkpoint) -> Identity:
    """Refuse a file of tensors by itself, of which no table can say anything. Raises SourceError."""
    folder = checkpoint.path.parent
    advice = (
        f"`ckptconv inspect {folder}` reads both."
        if lies_at(folder / "config.json")
        else "Inspect a directory that holds both."
    )
    raise SourceError(
        f"{checkpoint.path}: a file of tensors has no config.json, which says what the model is.\n{advice}"
    )


def identify_part(checkpoint: Checkpoint, role: Role) -> Identity:
    """Return what the schemas say of one model as the encoder or the decoder of a whole."""
    return _caught(lambda opened: _part(opened, role), checkpoint)


def _caught(identify: Callable[[Checkpoint], Identity], checkpoint: Checkpoint) -> Identity:
    """Take a refusal as the answer, with every tensor unknown."""
    try:
        return identify(checkpoint)
    except SourceError as error:
        weights = checkpoint.weights
        nothing = bind((), weights.tensors, weights.naming)
        return Identity("other", nothing, config=checkpoint.config, refusal=str(error))


def _likeness(identity: Identity, checkpoint: Checkpoint) -> tuple[bool, bool, int]:
    """Say how well a role suits: a possible one, one that reads an encoder, one with a place for most tensors."""
    reads = identity.kind == "decoder" and bool(checkpoint.config.decoding)
    return not identity.refusal, reads, len(identity.binding.stored)


def _part(checkpoint: Checkpoint, role: Role) -> Identity:
    config, weights = checkpoint.config, checkpoint.weights
    if role == "decoder":
        joined = {**config.values, **dict.fromkeys(DECODING, True)}
        config = replace(config, values=joined)
    part = read_part(config, role, role)
    tensors = expand(chain(part.stack(), part.head(), part.other_names()), NAMINGS)
    require_elements(tensors, checkpoint.config)
    base = part.family.main_layer if weights.naming == "tf" else part.family.base
    separator = NAMINGS[weights.naming].separator
    names = names_alone(tensors, role, base, separator, weights.naming)
    binding = bind(tensors, weights.tensors, weights.naming, names=names)
    return Identity(role, binding, parts={role: part}, config=checkpoint.config)


def _bridge(checkpoint: Checkpoint) -> Identity:
    config, weights = checkpoint.config, checkpoint.weights
    widths = config.size("encoder_hidden_size"), config.size("decoder_hidden_size")
    tensors = expand(bridge(*widths), NAMINGS)
    names = {tensor.key: tuple(_last_level(tensor, weights.naming)) for tensor in tensors}
    binding = bind(tensors, weights.tensors, weights.naming, names=names)
    return Identity("bridge", binding, config=config)


def _last_level(tensor: SchemaTensor, naming: NamingName) -> Iterator[str]:
    separator = NAMINGS[naming].separator
    yield from (name.rpartition(separator)[2] for name in tensor.spellings[naming].names)
