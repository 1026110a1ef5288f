"""An encoder, a decoder and the bridge between them, as one table: a prefix a side, and every tie a row.

Source: transformers 4.57.6, models/encoder_decoder/modeling_encoder_decoder.py (and its tf and flax twins).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families import families
from ckptconv.schema.family import Decoder, Encoder
from ckptconv.schema.fixes import RECORD, Healed
from ckptconv.schema.models.sides import Side, decoder_modules, encoder_modules, read_side
from ckptconv.schema.namings import namings
from ckptconv.schema.tensors import Row, expand
from ckptconv.schema.vocabulary import Module, NamingName, copies, linear, part

COMPOSITE = "encoder-decoder"

BRIDGE_READS: Mapping[NamingName, str] = {"tf": "encoder", "flax": "decoder"}
"""Side whose `initializer_range` the target's class reads to make a bridge; not every config class has one."""
INITIALIZER_RANGE = 0.02
"""What nearly all config classes have; the weights replace what it makes."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What an encoder-decoder config says the checkpoint is made of."""

    config: Config
    encoder: Side
    decoder: Side

    @property
    def pair(self) -> str:
        """The two model types, as in `bert -> gpt2`."""
        return f"{self.encoder.family.model_type} -> {self.decoder.family.model_type}"

    @property
    def has_bridge(self) -> bool:
        """True where the widths differ."""
        return self.encoder.config.size("hidden_size") != self.decoder.config.size("hidden_size")

    @property
    def encoder_part(self) -> Encoder:
        """The encoder's tables; `compose` has seen to it that there are some."""
        assert self.encoder.family.encoder is not None
        return self.encoder.family.encoder

    @property
    def decoder_part(self) -> Decoder:
        """The decoder's tables; `compose` has seen to it that there are some."""
        assert self.decoder.family.decoder is not None
        return self.decoder.family.decoder

    def modules(self) -> Iterator[Module]:
        """Return every module of the whole model, below `encoder`, `decoder` and the bridge."""
        encoder = encoder_modules(self.encoder, self.encoder_part)
        stack, head = decoder_modules(self.decoder, self.decoder_part)
        if self.config.flag("tie_encoder_decoder"):
            below = len(f"decoder.{self.decoder.family.base}".split("."))
            encoder = copies(
                encoder, {("encoder", *module.paths["pytorch"][below:]): module for module in stack}
            )
        yield from (*encoder, *stack, *head)
        if self.has_bridge:
            widths = (
                self.decoder.config.size("hidden_size"),
                self.encoder.config.size("hidden_size"),
            )
            yield from part("bridge", [linear("enc_to_dec_proj", *widths)])

    def rows(self) -> tuple[Row, ...]:
        """Return every tensor of the whole model, spelled in every naming."""
        return expand(self.modules(), namings())

    def require_class(self, naming: NamingName) -> None:
        """Refuse a pair that no class of the target framework can hold and run.

        Raises: SourceError: no class in transformers 4.57.6, or one that does not work; both sides' reasons.
        """
        reasons = []
        for side, tables, role in (
            (self.encoder, self.encoder_part, "encoder"),
            (self.decoder, self.decoder_part, "decoder"),
        ):
            name = f"{side.config.where}: {side.family.model_type!r} as {role}"
            if naming in tables.refused:
                reasons.append(f"{name}: {tables.refused[naming]}")
            elif naming not in tables.classes:
                reasons.append(
                    f"{name}: transformers 4.57.6 has no {naming} class that could hold it"
                )
            elif naming in (limits := tables.limits(side.config)):
                reasons.append(f"{name}: {limits[naming]}")
        if naming == "flax" and self.config.get("return_dict") is False:
            reasons.append(
                f"{self.config.where}: 'return_dict' is false, with which Flax's generate crashes; remove it"
            )
        if reasons:
            raise SourceError("\n".join(reasons))

    def settings(self, naming: NamingName) -> dict[str, Mapping[str, Json]]:
        """Return what the configs have to say beside the source's, so that the target's class runs: by side."""
        found: dict[str, Mapping[str, Json]] = {}
        made = self.decoder_part.settings.get(naming)
        if made:
            found["decoder"] = made(self.decoder.config)
        if self.has_bridge and naming in BRIDGE_READS:
            side = BRIDGE_READS[naming]
            found[side] = {**found.get(side, {}), "initializer_range": INITIALIZER_RANGE}
        configs = {"encoder": self.encoder.config, "decoder": self.decoder.config}
        return {
            side: {key: value for key, value in keys.items() if configs[side].get(key) is None}
            for side, keys in found.items()
        }

    def healings(self) -> tuple[Healed, ...]:
        """Return what Flax needs mended, with paths and config keys of the whole."""
        found = []
        for name, side, rules, base in (
            ("encoder", self.encoder, self.encoder_part.healings, "encoder"),
            (
                "decoder",
                self.decoder,
                self.decoder_part.healings,
                f"decoder.{self.decoder.family.base}",
            ),
        ):
            for rule in rules:
                healed = rule.heal(side.config)
                if healed:
                    config = {f"{name}.{key}": value for key, value in healed.config.items()}
                    module = f"{base}.{healed.module}"
                    found.append(Healed(module, healed.rows, healed.why, healed.record, config))
        return tuple(found)


def recorded(composition: Composition, config: Config) -> tuple[Healed, ...]:
    """Return the healings that a target's config says it got.

    Args: composition: of the original, before any healing.
    Raises: SourceError: the record names one that this pair does not have.
    """
    entries, known = _record(config), composition.healings()
    strange = [entry for entry in entries if entry not in [healed.entry for healed in known]]
    if strange:
        raise SourceError(
            f"{config.where}: {RECORD}.healed names what this pair does not need: {strange[0]}"
        )
    return tuple(healed for healed in known if healed.entry in entries)


def unhealed(config: Config) -> Config:
    """Return a target's config as it was before the healings and the settings that it records."""
    values = {key: value for key, value in config.values.items() if key != RECORD}
    for entry in _record(config):
        side = str(entry.get("tensor", "")).partition(".")[0]
        part = values.get(side)
        if isinstance(part, dict):
            values[side] = {key: entry.get(key, value) for key, value in part.items()}
    for side, added in _added(config):
        part = values.get(side)
        if isinstance(part, dict):
            values[side] = {key: value for key, value in part.items() if key != added}
    return replace(config, values=values)


def _record(config: Config) -> list[dict[str, Json]]:
    """Return the healings of a config's record. Raises SourceError: it is not a list of objects."""
    record = config.get(RECORD)
    entries = record.get("healed", []) if isinstance(record, dict) else []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"{config.where}: {RECORD}.healed must be a list of objects")
    return [entry for entry in entries if isinstance(entry, dict)]


def _added(config: Config) -> list[tuple[str, str]]:
    """Return side and key of the settings of a config's record. Raises SourceError: it is not a list of words."""
    record = config.get(RECORD)
    keys = record.get("added", []) if isinstance(record, dict) else []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise SourceError(
            f"{config.where}: {RECORD}.added must be a list of words such as decoder.some_key"
        )
    split = [str(key).partition(".") for key in keys]
    return [(side, key) for side, _, key in split]


def compose(config: Config) -> Composition:
    """Return the composition that a composite's config describes.

    Raises: SourceError: another kind of model, no table, or no decoder that reads an encoder.
    """
    model_type = config.get("model_type")
    if model_type != COMPOSITE:
        raise SourceError(
            f"{config.where}: model type {model_type!a} is not {COMPOSITE!r}.\n"
            "ckptconv converts what EncoderDecoderModel saved: an encoder and a decoder in one checkpoint."
            f"{_advice(config)}"
        )
    encoder, decoder = read_side(config.part("encoder")), read_side(config.part("decoder"))
    if encoder.family.encoder is None:
        raise SourceError(
            f"{encoder.config.where}: {encoder.family.model_type!r} cannot be an encoder."
        )
    if decoder.family.decoder is None:
        raise SourceError(
            f"{decoder.config.where}: {decoder.family.model_type!r} cannot be a decoder."
        )
    for key in ("is_decoder", "add_cross_attention"):
        if not decoder.config.flag(key):
            raise SourceError(
                f"{decoder.config.where}: {key!r} must be true, found {decoder.config.get(key)}:"
                " this decoder does not read the encoder.\n"
                "`ckptconv join ENCODER DECODER OUT` makes an encoder-decoder of two models."
            )
    composition = Composition(config, encoder, decoder)
    _check_width(composition)
    return composition


def _advice(config: Config) -> str:
    """Say what a checkpoint of another kind is, and what would serve."""
    if config.get("model_type") in [*families()]:  # whatever JSON it is: a list is in no dict
        return "\nThis is one model; `ckptconv join ENCODER DECODER OUT` makes a pair of two."
    if config.get("is_encoder_decoder") is True:
        return "\nThis is an encoder-decoder of one piece, such as T5 or Marian; ckptconv has no table for those."
    return ""


def _check_width(composition: Composition) -> None:
    """Refuse a width for cross-attention that is not the encoder's, or that no decoder can take.

    The composite classes then leave the projection away, and the decoders of transformers 4.57.6 crash,
    since they read the encoder with their own width.
    """
    declared = composition.decoder.config.get("cross_attention_hidden_size")
    width = composition.encoder.config.size("hidden_size")
    if declared is None or (declared == width and not composition.has_bridge):
        return
    found = (
        f"{composition.decoder.config.where}: 'cross_attention_hidden_size' is {declared}, but the"
    )
    if declared != width:
        raise SourceError(f"{found} encoder's hidden size is {width}.")
    own = composition.decoder.config.size("hidden_size")
    raise SourceError(
        f"{found} decoder's hidden size is {own}, and it reads the encoder with no other."
    )
