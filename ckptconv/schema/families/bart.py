"""BART's decoder; as an encoder `AutoModel` builds the whole of BART, which `EncoderDecoderModel` cannot run.

Source: transformers 4.57.6, models/bart/modeling_bart.py, modeling_flax_bart.py.

The table of positions has two rows more than positions, which all classes skip. The base model is two levels deep:
`model` only holds the decoder, so that checkpoints of the whole of BART fit.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import BART_TWINS, bart_layer
from ckptconv.schema.families._blocks import tied_output
from ckptconv.schema.families._limits import activation
from ckptconv.schema.family import Decoder, Family
from ckptconv.schema.vocabulary import (
    Module,
    Modules,
    embedding,
    layers,
    norm,
    repeats,
    word_embedding,
)

OFFSET = 2
"""Of positions in their table."""


def decoder(c: Config) -> Iterator[Module]:
    """`BartDecoder`."""
    hidden = c.size("hidden_size")
    yield word_embedding("embed_tokens", c.size("vocab_size"), hidden)
    yield embedding("embed_positions", c.size("max_position_embeddings") + OFFSET, hidden)
    yield from layers(
        "layers",
        c.size("decoder_layers"),
        bart_layer(hidden, c.size("decoder_ffn_dim"), cross=True),
    )
    yield norm("layernorm_embedding", hidden)


def head(c: Config) -> Modules:
    """The output projection, without a bias."""
    return tied_output("lm_head", c, "model.decoder.embed_tokens", bias=None)


def other_names(c: Config) -> Iterator[Module]:
    """The one table of a whole BART, which its decoder has as well unless the config unties them.

    Source: `_tie_weights` of `BartModel`.
    """
    if c.flag("tie_word_embeddings", default=True):
        shared = word_embedding("model.shared", c.size("vocab_size"), c.size("hidden_size"))
        yield repeats(shared, "model.decoder.embed_tokens", tied=True)


FAMILY = Family(
    model_type="bart",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        decoder,
        head,
        self_attention=BART_TWINS,
        classes={"pytorch": "BartForCausalLM", "flax": "FlaxBartForCausalLM"},
        limits=lambda c: activation(c, "activation_function"),
        other_names=other_names,
    ),
    defaults={
        "vocab_size": 50265,
        "d_model": 1024,
        "encoder_attention_heads": 16,
        "decoder_attention_heads": 16,
        "decoder_layers": 12,
        "decoder_ffn_dim": 4096,
        "max_position_embeddings": 1024,
        "activation_function": "gelu",
        "pad_token_id": 1,
    },
    aliases={"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads"},
)
