"""A model is named parts and how they join; what a config says of one, whatever its kind.

`schema/models/` has one file for each kind, such as a pair of encoder and decoder. A kind says which parts a
config names and which modules join them; everything else is asked of the parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

from ckptconv.base.discovery import Registry
from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, in_words
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES, Decoder, Encoder, Family, InputKind, StandIn, Whole
from ckptconv.schema.fixes import RECORD, Healed
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import Module, NamingName, SchemaTensor, expand, part, under

Role: TypeAlias = Literal["encoder", "decoder", "whole"]
"""What a part does in a model: one of two, or all of it."""
ROLES: tuple[Role, ...] = ("encoder", "decoder")
"""Of the parts that stand alone as well."""
SIZE = re.compile(r"size|dim|width|embd|inner|positions|channels|^d_|^n_|^num_")
"""How keys of sizes and counts are called."""
SHOWN = 5
AN: Mapping[Role, str] = {
    "encoder": "an encoder",
    "decoder": "a decoder",
    "whole": "an encoder-decoder of one piece",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of a model: a family in a role, and its config with the family's defaults."""

    name: str
    """The level that stands before its tensors' names, and the key of its config; empty for a model of one piece."""
    role: Role
    family: Family
    config: Config

    @property
    def tables(self) -> Encoder | Decoder | Whole:
        """What the family says of this role. `read_part` has seen to it that it says something."""
        tables = getattr(self.family, self.role)
        assert isinstance(tables, Encoder | Decoder | Whole)
        return tables

    @property
    def base(self) -> str:
        """Where the base model sits, as PyTorch names it: a decoder holds it beside its head."""
        return f"{self.name}.{self.family.base}" if self.role == "decoder" else self.name

    @property
    def width(self) -> int:
        """Features of its states, which a part of two reads of the other."""
        tables = self.tables
        if isinstance(tables, Encoder) and tables.width is not None:
            return tables.width(self.config)
        return self.config.size("hidden_size")

    def stand_in(self, naming: NamingName) -> StandIn | None:
        """Return whose class holds it in a naming; None where it is the family's own, or there is none."""
        return self.tables.stand_ins.get(naming)

    def held_as(self, naming: NamingName) -> Family:
        """Return the family whose class holds it in a naming."""
        stand_in = self.stand_in(naming)
        return self.family if stand_in is None else FAMILIES[stand_in.model_type]

    def stack(self) -> Iterator[Module]:
        """Return the modules of the base model, below the part's name."""
        modules = self.tables.modules(self.config)
        if self.role == "whole":
            return iter(modules)
        main_layer = self.held_as("tf").main_layer
        if self.role == "encoder":
            return part(self.role, under(self.name, under("", modules, tf=main_layer)))
        tf, flax = f"{self.name}.{main_layer}", f"{self.name}.{self.held_as('flax').base}"
        return part(self.role, under(self.base, modules, tf=tf, flax=flax))

    def head(self) -> Iterator[Module]:
        """Return the modules of the head, below the part's name; only a decoder's stands apart."""
        tables = self.tables
        if not isinstance(tables, Decoder):
            return iter(())
        return part("head", under(self.name, tables.head(self.config)))

    def other_names(self) -> Iterator[Module]:
        """Return what stands for modules of the part in other classes of the family, below the part's name."""
        tables = self.tables
        if not isinstance(tables, Decoder):
            return iter(())
        return part(self.role, under(self.name, tables.other_names(self.config)))

    def refusal(self, naming: NamingName) -> str:
        """Return why no class of a framework can hold and run the part; empty where one can."""
        tables = self.tables
        role = "" if self.role == "whole" else f" as {self.role}"
        where = f"{self.config.where}: {self.family.model_type!r}{role}"
        if naming in tables.refused:
            return f"{where}: {tables.refused[naming]}"
        if naming not in tables.classes:
            return f"{where}: transformers 4.57.6 has no {naming} class that could hold it"
        limits = tables.limits(self.config)
        return f"{where}: {limits[naming]}" if naming in limits else ""

    def fixes(self) -> Iterator[Healed]:
        """Return what Flax needs mended, with paths and config keys of the whole."""
        for rule in self.tables.healings:
            fix = rule.heal(self.config)
            if fix:
                keys = {f"{self.name}.{key}": value for key, value in fix.config.items()}
                yield replace(fix, module=f"{self.base}.{fix.module}", config=keys)


def read_part(config: Config, role: Role, name: str) -> Part:
    """Return the part that a config describes.

    Raises: SourceError: no table for its model type, or it cannot be what is asked for.
    """
    family = family_of(config.text("model_type"), config.where)
    if getattr(family, role) is None:
        raise SourceError(
            f"{config.where}: {family.model_type!r} cannot be {AN[role]}{_why(family, role)}."
        )
    return Part(name, role, family, config.read_as(family.defaults, family.aliases))


def _why(family: Family, role: Role) -> str:
    """Say why a class that holds a side by itself is in no composite; nothing where there is none."""
    sides = family.whole.sides if family.whole else {}
    side = sides.get(role) if role != "whole" else None
    return f" of a pair: {side.no_pair}" if side and side.no_pair else ""


@dataclass(frozen=True)
class Model:
    """What a config says a checkpoint is made of. The kinds in `schema/models/` say more."""

    config: Config
    parts: Mapping[str, Part]
    """Name -> part, in the order of the data flow."""

    @property
    def classes(self) -> Mapping[NamingName, str]:
        """The class of each framework that loads the whole, where there is one."""
        raise NotImplementedError  # pragma: no cover

    @property
    def has_common_loss(self) -> bool:
        """True where the classes of all frameworks define their loss alike."""
        return True

    @property
    def reads(self) -> InputKind:
        """What its encoder reads."""
        tables = self.encoder.tables
        return "tokens" if isinstance(tables, Decoder) else tables.reads

    @property
    def label(self) -> str:
        """The model types of the parts, as in `bert -> gpt2`."""
        return " -> ".join(part.family.model_type for part in self.parts.values())

    @property
    def encoder(self) -> Part:
        """The part that reads the input."""
        return self.parts["encoder"]

    @property
    def decoder(self) -> Part:
        """The part that writes the output."""
        return self.parts["decoder"]

    def side(self, role: Role) -> Part:
        """Return the part that is encoder or decoder."""
        return self.encoder if role == "encoder" else self.decoder

    def modules(self) -> Iterator[Module]:
        """Return every module of the whole model, in the order of the parts, and what joins them last."""
        for each in self.parts.values():
            yield from each.stack()
            yield from each.head()
        yield from self.joints()

    def joints(self) -> Iterator[Module]:
        """Return the modules that belong to no part, such as the projection between two widths."""
        return iter(())

    @cached_property
    def tensors(self) -> tuple[SchemaTensor, ...]:
        """Every tensor of the whole model, spelt in every naming. Raises SourceError: a size of 0."""
        tensors = expand(self.modules(), NAMINGS)
        require_elements(tensors, self.config)
        return tensors

    def refusals(self, naming: NamingName) -> Iterator[str]:
        """Return why no class of a framework can hold and run the model."""
        yield from filter(None, (each.refusal(naming) for each in self.parts.values()))

    def generation_fault(self, naming: NamingName) -> str:
        """Return why a framework's class cannot generate, though its forward pass is right; empty where it can."""
        return ""

    def require_class(self, naming: NamingName, *, forward_only: bool = False) -> None:
        """Refuse a model that no class of the target framework can hold and run.

        Args: forward_only: take a class that cannot generate.
        Raises: SourceError: no class in transformers 4.57.6, or one that does not work; every part's reason.
        """
        reasons = list(self.refusals(naming))
        fault = self.generation_fault(naming)
        if fault and not forward_only:
            reasons.append(
                f"{fault}.\nWith --forward-only it is written for the forward pass alone."
            )
        if reasons:
            raise SourceError("\n".join(reasons))

    def notices(self, naming: NamingName) -> Iterator[str]:
        """Return what the user of a framework's class must know."""
        stand_ins = {each.family.model_type: each.stand_in(naming) for each in self.parts.values()}
        for model_type, stand_in in stand_ins.items():
            if stand_in is not None:
                limit = f"; {stand_in.notice}" if stand_in.notice else ""
                yield f"{model_type} is held by the class of {stand_in.name}{limit}"

    def settings(self, naming: NamingName) -> dict[str, Mapping[str, Json]]:
        """Return what the configs have to say beside the source's, so that the target's class runs: by part."""
        added: dict[str, dict[str, Json]] = {}
        for name, each in self.parts.items():
            tables = each.tables
            if not isinstance(tables, Encoder) and naming in tables.settings:
                added[name] = dict(tables.settings[naming](each.config))
        for name in self.parts:
            added.setdefault(name, {}).update(self.joint_settings(naming, name))
        return {
            name: {
                key: value
                for key, value in keys.items()
                if self.parts[name].config.get(key) is None
            }
            for name, keys in added.items()
            if keys
        }

    def joint_settings(self, naming: NamingName, part: str) -> Mapping[str, Json]:
        """Return what the class that joins the parts reads of one part's config, and not every config has."""
        return {}

    def fixes(self) -> tuple[Healed, ...]:
        """Return what Flax needs mended, with paths and config keys of the whole."""
        return tuple(fix for each in self.parts.values() for fix in each.fixes())


def require_elements(tensors: Iterable[SchemaTensor], config: Config) -> None:
    """Refuse a config by which weights of the model have no elements: no class runs such a model.

    Raises: SourceError: with the keys that are 0 and could be why.
    """
    empty = [tensor.key for tensor in tensors if tensor.required and 0 in tensor.sizes.values()]
    if not empty:
        return
    zeros = ", ".join(f"{key!a:.80}" for key in list(_zero_sizes(config.values))[:SHOWN])
    more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
    raise SourceError(
        f"{config.where}: {empty[0]}{more} would have no elements, by a size of 0 ({zeros}): no class runs such a"
        " model. Set it to the size that the weights have."
    )


def _zero_sizes(values: Mapping[str, Json], above: str = "") -> Iterator[str]:
    """Return the keys of a config that may be sizes and are 0, in a part as well."""
    for key, value in values.items():
        if isinstance(value, dict) and key in ROLES:
            yield from _zero_sizes(value, f"{key}.")
        elif type(value) is int and value == 0 and SIZE.search(key):
            yield f"{above}{key}"


def applied_fixes(model: Model, config: Config) -> tuple[Healed, ...]:
    """Return the fixes that a target's config says it got.

    Args: model: the original, as `without_fixes` gives it.
    Raises: SourceError: the record names one that this model does not have.
    """
    entries, possible = _entries(config), model.fixes()
    strange = [entry for entry in entries if entry not in [fix.entry for fix in possible]]
    if strange:
        raise SourceError(
            f"{config.where}: {RECORD}.healed names what this pair does not need: {in_words(strange[0])}"
        )
    return tuple(fix for fix in possible if fix.entry in entries)


def never_healed(model: Model, config: Config) -> tuple[str, ...]:
    """Return why Flax's class cannot generate with a Flax checkpoint that no fix was applied to; () where it can.

    `encode` passes positions as token types, and rows beyond the end of a table are NaN. `pt2flax` repeats a row for
    them, and records it; a model that was trained in Flax, or that `from_pt=True` made, has no such rows.

    Args: model: as it was before any fix. config: with the record of the fixes that it got.
    """
    applied = applied_fixes(model, config)
    return tuple(
        f"`encode` of Flax's class passes positions as token types, for which {fix.module} has too few rows (a known"
        " fault of the class, docs/support.md)"
        for fix in model.fixes()
        if "repeated_row_0" in fix.record and fix not in applied
    )


def without_fixes(config: Config) -> Config:
    """Return a target's config as it was before the fixes and the settings that it records."""
    values = {key: value for key, value in config.values.items() if key != RECORD}
    for entry in _entries(config):
        side = str(entry.get("tensor", "")).partition(".")[0]
        section = values.get(side)
        if isinstance(section, dict):
            values[side] = {key: entry.get(key, value) for key, value in section.items()}
    for side, changed in _changed(config):
        section = values.get(side)
        if not side:
            values |= changed
        elif isinstance(section, dict):
            values[side] = {**section, **changed}
    for side, added in _added(config):
        if not side:
            values.pop(added, None)
        section = values.get(side)
        if isinstance(section, dict):
            values[side] = {key: value for key, value in section.items() if key != added}
    return replace(config, values=values)


def _entries(config: Config) -> list[dict[str, Json]]:
    """Return the fixes of a config's record. Raises SourceError: it is not a list of objects."""
    record = config.get(RECORD)
    entries = record.get("healed", []) if isinstance(record, dict) else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"{config.where}: {RECORD}.healed must be a list of objects")
    return [entry for entry in entries if isinstance(entry, dict)]


def stands_in(config: Config) -> bool:
    """Tell whether a config's record says that the class of another family holds the model, or a part of it."""
    return bool(_changed(config))


def _changed(config: Config) -> list[tuple[str, dict[str, Json]]]:
    """Return part and keys, with what they were, of the classes of other families in a config's record.

    Raises: SourceError: it is not a list of objects that say it.
    """
    record = config.get(RECORD)
    entries = record.get("stand_ins", []) if isinstance(record, dict) else []
    changed: list[tuple[str, dict[str, Json]]] = []
    for entry in entries if isinstance(entries, list) else [None]:
        side, keys = (entry.get("part"), entry.get("was")) if isinstance(entry, dict) else ("", "")
        if not isinstance(side, str) or not isinstance(keys, dict):
            raise SourceError(
                f"{config.where}: {RECORD}.stand_ins must be a list of objects with 'part' and 'was'"
            )
        changed.append((side, keys))
    return changed


def _added(config: Config) -> list[tuple[str, str]]:
    """Return part and key of the settings of a config's record. Raises SourceError: it is not a list of strings."""
    record = config.get(RECORD)
    keys = record.get("added", []) if isinstance(record, dict) else []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise SourceError(
            f"{config.where}: {RECORD}.added must be a list of strings such as decoder.some_key"
        )
    split = [str(key).rpartition(".") for key in keys]
    return [(side, key) for side, _, key in split]


@dataclass(frozen=True, slots=True)
class ModelType:
    """One kind of model, as `model_type` in its config names it."""

    model_type: str
    kind: str
    """What messages and JSON call it, such as `pair`."""
    classes: Mapping[str, str]
    """Naming -> the class in transformers that loads the whole; `architectures` in every config names PyTorch's."""
    read: Callable[[Config], Model]
    """Raises SourceError: a config that no class can take, or no table for one of its parts."""


MODELS: Registry[str, ModelType] = Registry("schema.models", "MODELS", key="model_type")
"""Every kind of model, by the model type of its config."""


def read_model(config: Config) -> Model:
    """Return the model that a config describes.

    Raises: SourceError: a kind of model that there is no table for, or a config that no class can take.
    """
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in MODELS:
        return MODELS[model_type].read(config)
    pairs = sorted(name for name, kind in MODELS.items() if kind.kind != "one piece")
    pieces = sorted(name for name, kind in MODELS.items() if kind.kind == "one piece")
    what = f"model type {in_words(model_type)} is no encoder-decoder that ckptconv has a table for"
    if model_type is None:
        what = "no 'model_type', which says what the model is"
    raise SourceError(
        f"{config.where}: {what}.\n"
        f"There are tables for {', '.join(pairs)}, and of one piece: {', '.join(pieces)}."
        f"{_advice(config)}"
    )


def _advice(config: Config) -> str:
    """Say what a checkpoint of another kind is, and what would serve."""
    if config.get("model_type") in [*FAMILIES]:  # whatever JSON it is: a list is in no dict
        return "\nThis is one model; `ckptconv join ENCODER DECODER OUT` makes a pair of two."
    return ""


def family_of(model_type: str, where: str) -> Family:
    """Return the family of a config's `model_type`.

    Raises: SourceError: there is no table; the message lists what there is.
    """
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    from difflib import get_close_matches

    near = get_close_matches(model_type, FAMILIES, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise SourceError(
        f"{where}: no table for model type {model_type!a}.{guess}\nThere are tables for: {', '.join(sorted(FAMILIES))}."
    )
