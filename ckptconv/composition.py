"""An encoder, a decoder and the bridge between them, as one table: a prefix a side, and every tie a row.

Source: transformers 4.57.6, models/encoder_decoder/modeling_encoder_decoder.py (and its tf and flax twins).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ckptconv.architectures import family_of
from ckptconv.config import Config
from ckptconv.dialects import dialects
from ckptconv.errors import SourceError
from ckptconv.family import Decoder, Encoder, Family
from ckptconv.healing import Healed
from ckptconv.table import DialectName, Module, Row, expand, linear, part, under

COMPOSITE = "encoder-decoder"


@dataclass(frozen=True, slots=True)
class Side:
    """One half of the pair: its family, and its config with the family's defaults."""

    family: Family
    config: Config


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
        """True where the widths differ and the decoder does not take the encoder's as it is."""
        widths = (self.encoder.config.size("hidden_size"), self.decoder.config.size("hidden_size"))
        return widths[0] != widths[1] and self.decoder.config.get("cross_attention_hidden_size") is None

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
        encoder, decoder = self.encoder.family, self.decoder.family
        base = self.encoder_part.modules(self.encoder.config)
        yield from part("encoder", under("encoder", under("", base, tf=encoder.main_layer)))
        base = self.decoder_part.modules(self.decoder.config)
        stack = part("decoder", under(decoder.base, base, tf=decoder.main_layer))
        head = part("head", self.decoder_part.head(self.decoder.config))
        yield from under("decoder", [*stack, *head])
        if self.has_bridge:
            widths = self.decoder.config.size("hidden_size"), self.encoder.config.size("hidden_size")
            yield from part("bridge", [linear("enc_to_dec_proj", *widths)])

    def rows(self) -> tuple[Row, ...]:
        """Return every tensor of the whole model, spelled in every dialect."""
        return expand(self.modules(), dialects())

    def require_class(self, dialect: DialectName) -> None:
        """Refuse a pair that has no class in the target framework.

        Raises: SourceError: transformers 4.57.6 has no class for one of the sides.
        """
        for side, classes, role in (
            (self.encoder, self.encoder_part.classes, "encoder"),
            (self.decoder, self.decoder_part.classes, "decoder"),
        ):
            if dialect not in classes:
                raise SourceError(
                    f"{side.config.where}: transformers 4.57.6 has no {dialect} class for"
                    f" {side.family.model_type!r} as {role}, so no such model can hold this checkpoint."
                )

    def healings(self) -> tuple[Healed, ...]:
        """Return what Flax needs mended, with paths and config keys of the whole."""
        found = []
        for name, side, rules, base in (
            ("encoder", self.encoder, self.encoder_part.healings, "encoder"),
            ("decoder", self.decoder, self.decoder_part.healings, f"decoder.{self.decoder.family.base}"),
        ):
            for rule in rules:
                healed = rule.heal(side.config)
                if healed:
                    config = {f"{name}.{key}": value for key, value in healed.config.items()}
                    module = f"{base}.{healed.module}"
                    found.append(Healed(module, healed.rows, healed.why, healed.record, config))
        return tuple(found)


def compose(config: Config) -> Composition:
    """Return the composition that a composite's config describes.

    Raises: SourceError: another kind of model, no table, or no decoder that reads an encoder.
    """
    model_type = config.get("model_type")
    if model_type != COMPOSITE:
        raise SourceError(
            f"{config.where}: model type {model_type!a} is not {COMPOSITE!r}.\n"
            "ckptconv converts what EncoderDecoderModel saved: an encoder and a decoder in one checkpoint."
        )
    encoder, decoder = _side(config.part("encoder")), _side(config.part("decoder"))
    if encoder.family.encoder is None:
        raise SourceError(f"{encoder.config.where}: {encoder.family.model_type!r} cannot be an encoder.")
    if decoder.family.decoder is None:
        raise SourceError(f"{decoder.config.where}: {decoder.family.model_type!r} cannot be a decoder.")
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


def _check_width(composition: Composition) -> None:
    """Refuse a width for cross-attention that is not the encoder's, as the classes do."""
    declared = composition.decoder.config.get("cross_attention_hidden_size")
    width = composition.encoder.config.size("hidden_size")
    if declared is not None and declared != width:
        raise SourceError(
            f"{composition.decoder.config.where}: 'cross_attention_hidden_size' is {declared},"
            f" but the encoder's hidden size is {width}."
        )


def _side(config: Config) -> Side:
    family = family_of(config.text("model_type"), config.where)
    return Side(family, config.read_as(family.defaults, family.aliases))
