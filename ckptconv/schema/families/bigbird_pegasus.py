"""BigBird-Pegasus: BART whose encoder may attend to blocks at random, which PyTorch alone has.

Source: transformers 4.57.6, models/bigbird_pegasus.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    BART_TWINS,
    PROJECTIONS,
    Style,
    bart_head,
    bart_layer,
    bart_stack,
    bart_whole,
    learned_positions,
    whole_names,
)
from ckptconv.schema.family import Decoder, Family, Whole
from ckptconv.schema.tensors import Module, Modules, linear, norm, under, word_embedding

STYLE = Style(learned_positions(0), first_norm=True, own_words=True)


def encoder_layer(c: Config) -> Iterator[Module]:
    """`BigBirdPegasusEncoderLayer`."""
    hidden, inner, bias = c.size("d_model"), c.size("encoder_ffn_dim"), c.flag("use_bias")
    projections = [linear(name, hidden, hidden, bias=bias) for name in ("query", "key", "value")]
    yield from under("self_attn.self", projections)
    yield linear("self_attn.output", hidden, hidden, bias=bias)
    yield norm("self_attn_layer_norm", hidden)
    yield linear("fc1", inner, hidden)
    yield linear("fc2", hidden, inner)
    yield norm("final_layer_norm", hidden)


def layer(c: Config, side: str) -> Modules:
    """A layer of one side."""
    if side == "encoder":
        return encoder_layer(c)
    biases = dict.fromkeys(PROJECTIONS, c.flag("use_bias"))
    return bart_layer(c.size("d_model"), c.size("decoder_ffn_dim"), cross=True, biases=biases)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `BigBirdPegasusForCausalLM`."""
    yield word_embedding("embed_tokens", c.size("vocab_size"), c.size("d_model"))
    yield from bart_stack(c, "decoder", STYLE, layer(c, "decoder"))


FAMILY = Family(
    model_type="bigbird_pegasus",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        decoder,
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "BigBirdPegasusForCausalLM"},
        other_names=whole_names,
    ),
    whole=Whole(bart_whole(STYLE, layer), {"pytorch": "BigBirdPegasusForConditionalGeneration"}),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 96103,
        "encoder_layers": 16,
        "decoder_layers": 16,
        "max_position_embeddings": 4096,
        "activation_function": "gelu_new",
        "pad_token_id": 0,
        "use_bias": False,
    },
    aliases=BART_ALIASES,
)
