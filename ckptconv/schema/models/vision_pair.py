"""An encoder of images and a decoder of text, as `VisionEncoderDecoderModel` holds them.

Source: transformers 4.57.6, models/vision_encoder_decoder. The Flax class hands the encoder's states to `decode` as the
fourth argument, which is `token_type_ids` in BERT-like decoders: their `generate` crashes, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptconv.schema.config import Config
from ckptconv.schema.fixes import Healed
from ckptconv.schema.model import ModelType
from ckptconv.schema.models.pair import Pair, read_parts, require_kind
from ckptconv.schema.tensors import NamingName

CLASSES: Mapping[NamingName, str] = {
    "pytorch": "VisionEncoderDecoderModel",
    "tf": "TFVisionEncoderDecoderModel",
    "flax": "FlaxVisionEncoderDecoderModel",
}
FLAX_DECODERS = ("bart", "gpt2")
"""Decoders whose fourth argument in Flax is the encoder's states."""


@dataclass(frozen=True)
class VisionPair(Pair):
    """An encoder of images, a decoder that reads it, and maybe a bridge."""

    @property
    def classes(self) -> Mapping[NamingName, str]:
        """The class of each framework that loads the whole."""
        return CLASSES

    @property
    def has_common_loss(self) -> bool:
        """False: PyTorch's class shifts the labels by a place before it compares, TF's does not."""
        return False

    def generation_fault(self, naming: NamingName) -> str:
        """Return why Flax's class cannot generate with its decoder; empty where it can."""
        if naming != "flax" or "flax" not in self.decoder.tables.classes:
            return ""
        if self.decoder.held_as("flax").model_type in FLAX_DECODERS:
            return ""
        return (
            f"{self.decoder.config.where}: {self.decoder.family.model_type!r} as decoder of images: generate of"
            " FlaxVisionEncoderDecoderModel crashes, since it passes the encoder's states as token types"
        )

    def fixes(self) -> tuple[Healed, ...]:
        """Return what Flax needs mended of the decoder; an encoder of images has no tokens."""
        return tuple(self.decoder.fixes())


def read_vision_pair(config: Config) -> VisionPair:
    """Return the pair that a config describes. Raises SourceError: as `read_pair`, or the encoder reads no images."""
    pair = VisionPair(config, read_parts(config))
    require_kind(pair)
    return pair


MODELS = (
    ModelType(
        "vision-encoder-decoder",
        "image pair",
        {str(naming): name for naming, name in CLASSES.items()},
        read_vision_pair,
    ),
)
