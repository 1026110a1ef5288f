"""XGLM: BART's decoder layers with the norms before each part, and positions of sines.

Source: transformers 4.57.6, models/xglm/modeling_xglm.py, modeling_tf_xglm.py, modeling_flax_xglm.py.

TF's head is a layer of its own, which is never tied: a tied one is written once more. The Flax class reads
`decoder_attention_heads`, which `XGLMConfig` does not have; the target is given it. Positions are a table that every
class makes anew, with a row of zeros in PyTorch and TF where the padding token's number is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import BART_TWINS, bart_layer
from ckptconv.schema.families._blocks import REBUILT, activation, numbered_layers
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    buffer,
    linear,
    norm,
    repeats,
    word_embedding,
)

OFFSET = 2
"""Of positions in their table."""


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`XGLMModel`."""
    hidden = c.size("hidden_size")
    yield word_embedding("embed_tokens", c.size("vocab_size"), hidden)
    yield buffer("embed_positions.weights", REBUILT)
    yield from numbered_layers(
        "layers", c.size("num_layers"), bart_layer(hidden, c.size("ffn_dim"), cross=cross)
    )
    yield norm("layer_norm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`XGLMModel` without cross-attention."""
    return stack(c, cross=False)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `XGLMForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Modules:
    """The output projection, without a bias: in TF a layer of its own even where it is tied."""
    output = linear("lm_head", c.size("vocab_size"), c.size("hidden_size"), bias=False)
    tied = c.flag("tie_word_embeddings", default=True)
    return (repeats(output, "model.embed_tokens", tied=tied, repeated_by=("tf",)),)


def limits(c: Config) -> Mapping[NamingName, str]:
    """What Flax's table of positions cannot be, and the activation."""
    reasons = activation(c, "activation_function")
    if c.size("hidden_size") % 2:
        reasons["flax"] = "the Flax class makes positions for an even 'd_model' only"
    pad = c.get("pad_token_id")
    if isinstance(pad, int) and pad >= OFFSET:
        reasons["flax"] = (
            f"'pad_token_id' is {pad}: PyTorch has zeros for that position, and the Flax class for another"
        )
    return reasons


def flax_settings(c: Config) -> Mapping[str, Json]:
    """What the Flax class reads and `XGLMConfig` does not have."""
    return {"decoder_attention_heads": c.get("attention_heads")}


FAMILY = Family(
    model_type="xglm",
    base="model",
    main_layer="model",
    encoder=Encoder(
        encoder,
        {"pytorch": "XGLMModel", "tf": "TFXGLMModel", "flax": "FlaxXGLMModel"},
        limits=limits,
    ),
    decoder=Decoder(
        decoder,
        head,
        self_attention=BART_TWINS,
        classes={
            "pytorch": "XGLMForCausalLM",
            "tf": "TFXGLMForCausalLM",
            "flax": "FlaxXGLMForCausalLM",
        },
        limits=limits,
        settings={"flax": flax_settings},
    ),
    defaults={
        "vocab_size": 256008,
        "d_model": 1024,
        "ffn_dim": 4096,
        "num_layers": 24,
        "attention_heads": 16,
        "max_position_embeddings": 2048,
        "activation_function": "gelu",
        "pad_token_id": 1,
    },
    aliases={
        "hidden_size": "d_model",
        "num_attention_heads": "attention_heads",
        "num_hidden_layers": "num_layers",
    },
)
