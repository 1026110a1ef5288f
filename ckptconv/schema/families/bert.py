"""BERT. Source: transformers 4.57.6, models/bert/modeling_bert.py, modeling_tf_bert.py, modeling_flax_bert.py."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_DEFAULTS,
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
    defaults=BERT_DEFAULTS,
)
