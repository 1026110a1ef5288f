"""wav2vec2, as an encoder of speech.

Source: transformers 4.57.6, models/wav2vec2. The Flax class has one of the two orders of norms alone, and ignores an
epsilon in its feature extractor and adapters in its layers.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._wav2vec2 import (
    WAV2VEC2_DEFAULTS,
    adapter,
    flax_limits,
    wav2vec2_stack,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`Wav2Vec2Model`."""
    yield from wav2vec2_stack(c)
    yield from adapter(c)


FAMILY = Family(
    model_type="wav2vec2",
    base="wav2vec2",
    main_layer="wav2vec2",
    encoder=Encoder(
        encoder,
        {"pytorch": "Wav2Vec2Model", "flax": "FlaxWav2Vec2Model"},
        limits=flax_limits,
        reads="samples",
    ),
    defaults={
        **WAV2VEC2_DEFAULTS,
        "add_adapter": False,
        "adapter_kernel_size": 3,
        "adapter_stride": 2,
        "num_adapter_layers": 3,
    },
)
