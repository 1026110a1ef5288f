"""ELECTRA: BERT's stack with embeddings of their own width; PyTorch alone has a decoder that runs.

Source: transformers 4.57.6, models/electra/modeling_electra.py, modeling_tf_electra.py, modeling_flax_electra.py.
Irregular: no pooler; `embeddings_project` exists where the widths differ; the head repeats the embeddings and has
a bias of its own. Flax's module has no default for `token_type_ids`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    bert_embeddings,
    bert_layer,
    bert_limits,
    relative_positions,
    tied_output,
)
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import Module, layers, linear, norm, parameter, under

NO_TOKEN_TYPES = "FlaxElectraModule needs `token_type_ids`, and FlaxEncoderDecoderModel passes none"


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`ElectraModel`."""
    hidden, width = c.size("hidden_size"), c.size("embedding_size")
    yield from under("embeddings", bert_embeddings(c, width))
    if width != hidden:
        yield linear("embeddings_project", hidden, width)
    once = bert_layer(
        hidden, c.size("intermediate_size"), cross=cross, distances=relative_positions(c)
    )
    yield from layers("encoder.layer", c.size("num_hidden_layers"), once)


def encoder(c: Config) -> Iterator[Module]:
    """`ElectraModel` without cross-attention."""
    return stack(c, cross=False)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `ElectraForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`ElectraGeneratorPredictions`, and the projection to the vocabulary."""
    width = c.size("embedding_size")
    yield linear("generator_predictions.dense", width, c.size("hidden_size"))
    yield norm("generator_predictions.LayerNorm", width)
    words = "electra.embeddings.word_embeddings"
    yield from tied_output("generator_lm_head", c, words, bias=None, width=width)
    yield parameter("generator_lm_head.bias", out=c.size("vocab_size"))


FAMILY = Family(
    model_type="electra",
    base="electra",
    main_layer="electra",
    encoder=Encoder(
        encoder,
        {"pytorch": "ElectraModel", "tf": "TFElectraModel"},
        refused={"flax": NO_TOKEN_TYPES},
        limits=bert_limits,
    ),
    decoder=Decoder(
        decoder,
        head,
        classes={"pytorch": "ElectraForCausalLM"},
        self_attention=BERT_TWINS,
        refused={"flax": NO_TOKEN_TYPES},
        limits=bert_limits,
    ),
    defaults={
        "vocab_size": 30522,
        "embedding_size": 128,
        "hidden_size": 256,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
