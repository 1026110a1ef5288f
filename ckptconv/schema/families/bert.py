"""BERT. Source: transformers 4.57.6, models/bert/modeling_bert.py, modeling_tf_bert.py, modeling_flax_bert.py."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    bert_limits,
    bert_pooler,
    bert_predictions,
    bert_stack,
)
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.fixes import RepeatTokenType
from ckptconv.schema.tensors import Module


def encoder(c: Config) -> Iterator[Module]:
    """`BertModel`."""
    yield from bert_stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `BertLMHeadModel`, which has no pooler."""
    return bert_stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`BertOnlyMLMHead`."""
    return bert_predictions(c, base="bert")


FAMILY = Family(
    model_type="bert",
    base="bert",
    main_layer="bert",
    encoder=Encoder(
        encoder,
        {"pytorch": "BertModel", "tf": "TFBertModel", "flax": "FlaxBertModel"},
        healings=(RepeatTokenType("embeddings.token_type_embeddings"),),
        limits=bert_limits,
    ),
    decoder=Decoder(
        decoder,
        head,
        self_attention=BERT_TWINS,
        classes={
            "pytorch": "BertLMHeadModel",
            "tf": "TFBertLMHeadModel",
            "flax": "FlaxBertForCausalLM",
        },
        limits=bert_limits,
    ),
    defaults={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
