"""Speech2Text: convolutions that gate themselves over a spectrogram, then BART's layers with their norms first.

Source: transformers 4.57.6, models/speech_to_text. Every class computes its positions. TF has a head of its own
whatever the config says of ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import BART_ALIASES, bart_layer, bart_limits
from ckptconv.schema.families._blocks import REBUILT, numbered_layers
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import (
    Module,
    buffer,
    convolution,
    linear,
    norm,
    part,
    repeats,
    under,
    word_embedding,
)


def stack(c: Config, side: str) -> Iterator[Module]:
    """The positions, layers and last norm of one side."""
    hidden, inner = c.size("d_model"), c.size(f"{side}_ffn_dim")
    yield buffer("embed_positions.weights", REBUILT)
    layer = bart_layer(hidden, inner, cross=side == "decoder")
    yield from numbered_layers("layers", c.size(f"{side}_layers"), layer)
    yield norm("layer_norm", hidden)


def convolutions(c: Config) -> Iterator[Module]:
    """`Conv1dSubsampler`: each output is gated by half of its channels, so that the next layer sees the other half."""
    kernels, last = c.sizes("conv_kernel_sizes"), c.size("num_conv_layers") - 1
    inputs = c.size("input_feat_per_channel") * c.size("input_channels")
    for number, kernel in enumerate(kernels):
        out = 2 * c.size("d_model") if number == last else c.size("conv_channels")
        (layer,) = under("", [convolution(f"conv.conv_layers.{number}", out, inputs, kernel)])
        yield replace(layer, paths={**layer.paths, "tf": ("conv", f"conv_layers.{number}")})
        inputs = c.size("conv_channels") // 2


def whole(c: Config) -> Iterator[Module]:
    """`Speech2TextForConditionalGeneration`."""
    vocab, hidden = c.size("vocab_size"), c.size("d_model")
    yield from part("encoder", under("model.encoder", (*convolutions(c), *stack(c, "encoder"))))
    words = word_embedding("embed_tokens", vocab, hidden)
    yield from part("decoder", under("model.decoder", (words, *stack(c, "decoder"))))
    output = linear("lm_head", vocab, hidden, bias=False)
    tied = c.flag("tie_word_embeddings", default=True)
    head = repeats(output, "model.decoder.embed_tokens", tied=tied, repeated_by=("tf",))
    yield replace(head, part="head")


FAMILY = Family(
    model_type="speech_to_text",
    whole=Whole(
        whole,
        {
            "pytorch": "Speech2TextForConditionalGeneration",
            "tf": "TFSpeech2TextForConditionalGeneration",
        },
        reads="features",
        limits=bart_limits,
        places={"encoder": "max_source_positions", "decoder": "max_target_positions"},
    ),
    defaults={
        "vocab_size": 10000,
        "d_model": 256,
        "encoder_layers": 12,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 2048,
        "decoder_layers": 6,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 2048,
        "max_source_positions": 6000,
        "max_target_positions": 1024,
        "num_conv_layers": 2,
        "conv_kernel_sizes": [5, 5],
        "conv_channels": 1024,
        "input_feat_per_channel": 80,
        "input_channels": 1,
        "activation_function": "relu",
        "pad_token_id": 1,
    },
    aliases=BART_ALIASES,
)
