"""An encoder and a decoder with cross-attention, and the projection between them where their widths differ.

Source: transformers 4.57.6, models/encoder_decoder/modeling_encoder_decoder.py (and its tf and flax twins).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, in_words
from ckptconv.schema.config import DECODING, Config
from ckptconv.schema.family import Decoder, InputKind
from ckptconv.schema.model import Model, ModelType, Part, Role, read_part
from ckptconv.schema.tensors import Module, NamingName, copies, linear, part

BRIDGE_READS: Mapping[NamingName, Role] = {"tf": "encoder", "flax": "decoder"}
"""Part whose `initializer_range` the target's class reads to make a bridge; not every config class has one."""
INITIALIZER_RANGE = 0.02
"""What nearly all config classes have; the weights replace what it makes."""


COMPOSITES: Mapping[str, InputKind] = {
    "encoder-decoder": "tokens",
    "vision-encoder-decoder": "pixels",
    "speech-encoder-decoder": "samples",
}
"""Model type of a pair -> what its encoder reads."""
INPUTS: Mapping[InputKind, str] = {
    "tokens": "text",
    "pixels": "images",
    "samples": "samples of sound",
    "features": "spectrograms",
}
"""The same in words."""
BRIDGE_TYPE = "ckptconv-bridge"
"""Model type in the config of a bridge by itself: no class of transformers holds a bare projection."""


def bridge(encoder_width: int, decoder_width: int) -> Iterator[Module]:
    """Return the projection of the encoder's states to the decoder's width."""
    return part("bridge", [linear("enc_to_dec_proj", decoder_width, encoder_width)])


CLASSES: Mapping[NamingName, str] = {
    "pytorch": "EncoderDecoderModel",
    "tf": "TFEncoderDecoderModel",
    "flax": "FlaxEncoderDecoderModel",
}
"""What `from_pretrained` is called on."""


@dataclass(frozen=True)
class Pair(Model):
    """An encoder, a decoder that reads it, and maybe a bridge."""

    @property
    def classes(self) -> Mapping[NamingName, str]:
        """The class of each framework that loads the whole."""
        return CLASSES

    @property
    def has_bridge(self) -> bool:
        """True where the widths differ, and the decoder does not read the encoder's."""
        widths = {each.width for each in self.parts.values()}
        return len(widths) > 1 and not self.reads_encoder_width

    @property
    def reads_encoder_width(self) -> bool:
        """True where the decoder's cross-attention has a width of its own, which its config says."""
        tables = self.decoder.tables
        declared = self.decoder.config.get("cross_attention_hidden_size")
        return isinstance(tables, Decoder) and tables.reads_any_width and declared is not None

    def modules(self) -> Iterator[Module]:
        """Return every module of the whole model, below `encoder`, `decoder` and the bridge."""
        encoder, stack = self.encoder.stack(), tuple(self.decoder.stack())
        if self.config.flag("tie_encoder_decoder"):
            below = len(self.decoder.base.split("."))
            shared = {("encoder", *module.paths["pytorch"][below:]): module for module in stack}
            encoder = copies(encoder, shared)
        yield from (*encoder, *stack, *self.decoder.head(), *self.joints())

    def joints(self) -> Iterator[Module]:
        """Return the projection from the encoder's width to the decoder's, where they differ."""
        if self.has_bridge:
            yield from bridge(*(each.width for each in self.parts.values()))

    def refusals(self, naming: NamingName) -> Iterator[str]:
        """Return why no class of a framework can hold and run the model."""
        yield from super().refusals(naming)
        if naming == "flax" and self.config.get("return_dict") is False:
            yield (
                f"{self.config.where}: 'return_dict' is false, with which Flax's generate crashes;"
                " remove it"
            )

    def joint_settings(self, naming: NamingName, part: str) -> Mapping[str, Json]:
        """Return what the class reads of one part's config to make a bridge, and not every config has."""
        reads = self.has_bridge and BRIDGE_READS.get(naming) == part
        return {"initializer_range": INITIALIZER_RANGE} if reads else {}


def read_pair(config: Config) -> Pair:
    """Return the pair of text that an encoder-decoder's config describes.

    Raises: SourceError: no table, no decoder that reads an encoder, or an encoder of something else than text.
    """
    pair = Pair(config, read_parts(config))
    require_kind(pair)
    return pair


def require_kind(pair: Pair) -> None:
    """Refuse a pair whose config calls it one of another kind of input. Raises SourceError."""
    stated = str(pair.config.get("model_type"))
    expected = COMPOSITES[stated]
    if pair.reads != expected:
        right = next(name for name, reads in COMPOSITES.items() if reads == pair.reads)
        raise SourceError(
            f"{pair.config.where}: 'model_type' is {stated!r}, whose encoder reads {INPUTS[expected]}, but"
            f" {pair.encoder.family.model_type!r} reads {INPUTS[pair.reads]}: a pair with it is {right!r}."
        )


def read_parts(config: Config) -> Mapping[str, Part]:
    """Return encoder and decoder that a composite's config describes.

    Raises: SourceError: no table, or no decoder that reads an encoder.
    """
    encoder = read_part(config.part("encoder"), "encoder", "encoder")
    decoder = read_part(config.part("decoder"), "decoder", "decoder")
    for key in DECODING:
        if not decoder.config.flag(key):
            stated = "nothing" if decoder.config.get(key) is None else "false"
            raise SourceError(
                f"{decoder.config.where}: {key!r} must be true, found {stated}:"
                " this decoder does not read the encoder.\n"
                "`ckptconv join ENCODER DECODER OUT` makes an encoder-decoder of two models. Where these weights"
                f" hold a cross-attention, set {key!r} to true."
            )
    parts = {"encoder": encoder, "decoder": decoder}
    _check_width(Pair(config, parts))
    return parts


def _check_width(pair: Pair) -> None:
    """Refuse a width for cross-attention that is not the encoder's, or that no decoder can take.

    The composite classes then leave the projection away, and the decoders of transformers 4.57.6 crash,
    since they read the encoder with their own width.
    """
    declared = pair.decoder.config.get("cross_attention_hidden_size")
    width = pair.encoder.width
    own = pair.decoder.width
    if declared is None or (declared == width and (width == own or pair.reads_encoder_width)):
        return
    where = f"{pair.decoder.config.where}: 'cross_attention_hidden_size' is {in_words(declared)}, but the"
    if declared != width:
        raise SourceError(f"{where} encoder's hidden size is {width}.")
    raise SourceError(
        f"{where} decoder's hidden size is {own}, and it reads the encoder with no other."
    )


PAIR = ModelType(
    "encoder-decoder", "pair", {str(naming): name for naming, name in CLASSES.items()}, read_pair
)
MODELS = (PAIR,)
