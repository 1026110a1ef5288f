"""BERT. Source: transformers 4.57.6, models/bert/modeling_bert.py, modeling_tf_bert.py, modeling_flax_bert.py."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.architectures._blocks import BERT_TWINS, bert_pooler, bert_stack, tied_output
from ckptconv.config import Config
from ckptconv.family import Decoder, Encoder, Family
from ckptconv.healing import RepeatTokenType
from ckptconv.table import Module, linear, norm, parameter, under


def encoder(c: Config) -> Iterator[Module]:
    """`BertModel`."""
    yield from bert_stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `BertLMHeadModel`, which has no pooler."""
    return bert_stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`BertOnlyMLMHead`; TF calls the level `cls` otherwise."""
    vocab, hidden = c.size("vocab_size"), c.size("hidden_size")
    predictions = [
        linear("predictions.transform.dense", hidden, hidden),
        norm("predictions.transform.LayerNorm", hidden),
        parameter("predictions.bias", out=vocab),
    ]
    yield from under("cls", predictions, tf="mlm___cls")
    yield from tied_output(
        "cls.predictions.decoder", c, "bert.embeddings.word_embeddings", bias="cls.predictions.bias"
    )


FAMILY = Family(
    model_type="bert",
    base="bert",
    main_layer="bert",
    encoder=Encoder(
        encoder,
        {"pytorch": "BertModel", "tf": "TFBertModel", "flax": "FlaxBertModel"},
        healings=(RepeatTokenType("embeddings.token_type_embeddings"),),
    ),
    decoder=Decoder(
        decoder,
        head,
        self_attention=BERT_TWINS,
        classes={"pytorch": "BertLMHeadModel", "tf": "TFBertLMHeadModel", "flax": "FlaxBertForCausalLM"},
    ),
    defaults={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
