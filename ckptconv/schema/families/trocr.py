"""TrOCR's decoder: BART's, with a head of another name and positions that may be sines.

Source: transformers 4.57.6, models/trocr. PyTorch alone has a class, which computes its sines.
Flax's BART decoder computes the same where the embeddings have a norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import BART_TWINS, PROJECTIONS, bart_attention
from ckptconv.schema.families._blocks import activation, numbered_layers, tied_output
from ckptconv.schema.family import Decoder, Family, StandIn
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    embedding,
    linear,
    norm,
    only_in,
    parameter,
    part,
    under,
    word_embedding,
    zeros_if_absent,
)

OFFSET = 2
"""Of positions in their table."""


def layer(c: Config) -> Iterator[Module]:
    """`TrOCRDecoderLayer`, which may read states of another width than its own."""
    hidden, inner = c.size("hidden_size"), c.size("decoder_ffn_dim")
    declared = c.get("cross_attention_hidden_size")
    read = hidden if declared is None else c.size("cross_attention_hidden_size")
    yield from bart_attention("self_attn", hidden)
    reading = [
        linear(name, hidden, read if name in ("k_proj", "v_proj") else hidden)
        for name in PROJECTIONS
    ]
    cross = (*under("encoder_attn", reading), norm("encoder_attn_layer_norm", hidden))
    yield from part("cross-attention", cross)
    yield linear("fc1", inner, hidden)
    yield linear("fc2", hidden, inner)
    yield norm("final_layer_norm", hidden)


def decoder(c: Config) -> Iterator[Module]:
    """`TrOCRDecoder`."""
    hidden = c.size("hidden_size")
    yield word_embedding("embed_tokens", c.size("vocab_size"), hidden)
    if c.flag("use_learned_position_embeddings", default=True):
        yield embedding("embed_positions", c.size("max_position_embeddings") + OFFSET, hidden)
    else:
        marker = parameter("embed_positions._float_tensor", one=1)
        yield from zeros_if_absent(only_in("pytorch", [marker]), "a number that no class reads")
    if c.flag("layernorm_embedding", default=True):
        yield norm("layernorm_embedding", hidden)
    yield from numbered_layers("layers", c.size("decoder_layers"), layer(c))


def head(c: Config) -> Iterator[Module]:
    """The output projection, without a bias; Flax's BART calls it otherwise."""
    for module in tied_output("output_projection", c, "model.decoder.embed_tokens", bias=None):
        yield replace(module, paths={**module.paths, "flax": ("lm_head",)})


def limits(c: Config) -> dict[NamingName, str]:
    """What Flax's BART decoder lacks: a form without a norm over the embeddings, sines, and some activations."""
    reasons = activation(c, "activation_function")
    if not c.flag("layernorm_embedding", default=True):
        reasons["flax"] = "'layernorm_embedding' is false, and BART's class has that norm always"
    if not c.flag("use_learned_position_embeddings", default=True):
        reasons["flax"] = (
            "'use_learned_position_embeddings' is false: positions pass over padding, and BART's class counts it"
        )
    return reasons


FAMILY = Family(
    model_type="trocr",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        decoder,
        head,
        self_attention=BART_TWINS,
        classes={"pytorch": "TrOCRForCausalLM", "flax": "FlaxBartForCausalLM"},
        limits=limits,
        stand_ins={"flax": StandIn("bart", "BART")},
        reads_any_width=True,
    ),
    defaults={
        "vocab_size": 50265,
        "d_model": 1024,
        "decoder_layers": 12,
        "decoder_attention_heads": 16,
        "decoder_ffn_dim": 4096,
        "max_position_embeddings": 512,
        "activation_function": "gelu",
        "use_learned_position_embeddings": True,
        "layernorm_embedding": True,
        "pad_token_id": 1,
    },
    aliases={
        "hidden_size": "d_model",
        "num_attention_heads": "decoder_attention_heads",
        "num_hidden_layers": "decoder_layers",
    },
)
