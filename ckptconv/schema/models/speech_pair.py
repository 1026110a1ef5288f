"""An encoder of speech and a decoder of text, as `SpeechEncoderDecoderModel` holds them. There is no class in TF.

Source: transformers 4.57.6, models/speech_encoder_decoder. The Flax class numbers the decoder's positions 0, 1, 2 ...,
as that of text does. In its `generate` a mask of samples crashes; without one it answers as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckptconv.schema.config import Config
from ckptconv.schema.model import ModelType
from ckptconv.schema.models.pair import Pair, read_parts, require_kind
from ckptconv.schema.tensors import NamingName

CLASSES: Mapping[NamingName, str] = {
    "pytorch": "SpeechEncoderDecoderModel",
    "flax": "FlaxSpeechEncoderDecoderModel",
}
NO_MASK = "generate of FlaxSpeechEncoderDecoderModel crashes with an attention_mask; it answers without one"


@dataclass(frozen=True)
class SpeechPair(Pair):
    """An encoder of speech, a decoder that reads it, and maybe a bridge."""

    @property
    def classes(self) -> Mapping[NamingName, str]:
        """The class of each framework that loads the whole."""
        return CLASSES

    def refusals(self, naming: NamingName) -> Iterator[str]:
        """Return why no class of a framework can hold and run the model."""
        if naming not in CLASSES:
            yield f"{self.config.where}: transformers 4.57.6 has no {naming} class for speech and text"
        yield from super().refusals(naming)

    def notices(self, naming: NamingName) -> Iterator[str]:
        """Return what the user of Flax's class must know."""
        yield from super().notices(naming)
        if naming == "flax":
            yield NO_MASK


def read_speech_pair(config: Config) -> SpeechPair:
    """Return the pair that a config describes. Raises SourceError: as `read_pair`, or the encoder reads no speech."""
    pair = SpeechPair(config, read_parts(config))
    require_kind(pair)
    return pair


MODELS = (
    ModelType(
        "speech-encoder-decoder",
        "speech pair",
        {str(naming): name for naming, name in CLASSES.items()},
        read_speech_pair,
    ),
)
