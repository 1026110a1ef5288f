"""Whisper: two convolutions over a spectrogram, then BART's layers without biases on their keys.

Source: transformers 4.57.6, models/whisper. The encoder's positions are sines, which every class stores and nobody
trains. The head is `proj_out` in PyTorch; Flax has one where it is not tied, TF never.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import BART_ALIASES, bart_layer, whole_limits
from ckptconv.schema.families._blocks import numbered_layers
from ckptconv.schema.family import Family, Standalone, Whole
from ckptconv.schema.tensors import (
    Module,
    convolution,
    embedding,
    linear,
    norm,
    part,
    repeats,
    under,
    word_embedding,
)

NO_PAIR = (
    "it reads `encoder_outputs`, and every composite passes `encoder_hidden_states`"
    " (run it with use_cache=False: with a cache of its own it raises UnboundLocalError)"
)
"""Of `WhisperForCausalLM`, whose attention knows `EncoderDecoderCache` alone."""
KERNEL = 3
"""Width of both convolutions."""


def stack(c: Config, side: str) -> Iterator[Module]:
    """The layers of one side and the norm after them."""
    hidden, inner = c.size("d_model"), c.size(f"{side}_ffn_dim")
    layer = bart_layer(hidden, inner, cross=side == "decoder", biases={"k_proj": False})
    yield from numbered_layers("layers", c.size(f"{side}_layers"), layer)
    yield norm("layer_norm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`WhisperEncoder`."""
    hidden = c.size("d_model")
    yield convolution("conv1", hidden, c.size("num_mel_bins"), KERNEL)
    yield convolution("conv2", hidden, hidden, KERNEL)
    yield word_embedding("embed_positions", c.size("max_source_positions"), hidden)
    yield from stack(c, "encoder")


def decoder(c: Config) -> Iterator[Module]:
    """`WhisperDecoder`."""
    hidden = c.size("d_model")
    yield embedding("embed_tokens", c.size("vocab_size"), hidden)
    yield word_embedding("embed_positions", c.size("max_target_positions"), hidden)
    yield from stack(c, "decoder")


def whole(c: Config) -> Iterator[Module]:
    """`WhisperForConditionalGeneration`."""
    yield from part("encoder", under("model.encoder", encoder(c)))
    yield from part("decoder", under("model.decoder", decoder(c)))
    output = linear("proj_out", c.size("vocab_size"), c.size("d_model"), bias=False)
    output = replace(output, paths={"pytorch": ("proj_out",), "flax": ("lm_head",)})
    tied = c.flag("tie_word_embeddings", default=True)
    head = repeats(output, "model.decoder.embed_tokens", tied=tied, held_by=("pytorch", "flax"))
    yield replace(head, part="head")


def causal(c: Config) -> Iterator[Module]:
    """`WhisperForCausalLM`."""
    return (module for module in whole(c) if module.part != "encoder")


FAMILY = Family(
    model_type="whisper",
    whole=Whole(
        whole,
        {
            "pytorch": "WhisperForConditionalGeneration",
            "tf": "TFWhisperForConditionalGeneration",
            "flax": "FlaxWhisperForConditionalGeneration",
        },
        reads="features",
        limits=whole_limits,
        flax_positions="mask",
        sides={"decoder": Standalone("WhisperForCausalLM", causal, no_pair=NO_PAIR)},
        places={"encoder": "max_source_positions", "decoder": "max_target_positions"},
    ),
    defaults={
        "vocab_size": 51865,
        "num_mel_bins": 80,
        "d_model": 384,
        "encoder_layers": 4,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "decoder_layers": 4,
        "decoder_attention_heads": 6,
        "decoder_ffn_dim": 1536,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "activation_function": "gelu",
        "pad_token_id": 50256,
    },
    aliases=BART_ALIASES,
)
