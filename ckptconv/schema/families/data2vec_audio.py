"""data2vec for sound: wav2vec2 with several plain convolutions for positions. PyTorch alone has a class.

Source: transformers 4.57.6, models/data2vec/modeling_data2vec_audio.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._wav2vec2 import (
    WAV2VEC2_DEFAULTS,
    adapter,
    feature_extractor,
    layer,
    mask_vector,
    projection,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, convolution, layers, norm, under


def encoder(c: Config) -> Iterator[Module]:
    """`Data2VecAudioModel`."""
    hidden = c.size("hidden_size")
    yield from mask_vector(c)
    yield from under("feature_extractor", feature_extractor(c))
    yield from projection(c)
    groups = max(1, c.size("num_conv_pos_embedding_groups"))
    grouped = convolution("conv", hidden, hidden // groups, c.size("conv_pos_kernel_size"))
    count = c.size("num_conv_pos_embeddings")
    yield from layers("encoder.pos_conv_embed.layers", count, [grouped])
    yield norm("encoder.layer_norm", hidden)
    yield from layers("encoder.layers", c.size("num_hidden_layers"), layer(c))
    yield from adapter(c)


FAMILY = Family(
    model_type="data2vec-audio",
    base="data2vec_audio",
    main_layer="data2vec_audio",
    encoder=Encoder(encoder, {"pytorch": "Data2VecAudioModel"}, reads="samples"),
    defaults={
        **{
            key: value
            for key, value in WAV2VEC2_DEFAULTS.items()
            if key not in ("feat_extract_norm", "do_stable_layer_norm")
        },
        "num_conv_pos_embeddings": 5,
        "conv_pos_kernel_size": 19,
        "add_adapter": False,
        "adapter_kernel_size": 3,
        "adapter_stride": 2,
        "num_adapter_layers": 3,
    },
)
