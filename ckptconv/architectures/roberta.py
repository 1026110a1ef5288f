"""RoBERTa: BERT's stack with another head, and positions that count from `pad_token_id + 1`.

Source: transformers 4.57.6, models/roberta/modeling_roberta.py, modeling_tf_roberta.py, modeling_flax_roberta.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.architectures._blocks import BERT_TWINS, bert_pooler, bert_stack, tied_output
from ckptconv.config import Config
from ckptconv.family import Decoder, Encoder, Family
from ckptconv.healing import RepeatTokenType, RollPositions
from ckptconv.table import Module, linear, norm, parameter

POSITIONS = RollPositions("embeddings.position_embeddings")
TOKEN_TYPES = RepeatTokenType("embeddings.token_type_embeddings")


def encoder(c: Config) -> Iterator[Module]:
    """`RobertaModel`."""
    yield from bert_stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `RobertaForCausalLM`, which has no pooler."""
    return bert_stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`RobertaLMHead`."""
    vocab, hidden = c.size("vocab_size"), c.size("hidden_size")
    yield linear("lm_head.dense", hidden, hidden)
    yield norm("lm_head.layer_norm", hidden)
    yield parameter("lm_head.bias", out=vocab)
    yield from tied_output("lm_head.decoder", c, "roberta.embeddings.word_embeddings", bias="lm_head.bias")


FAMILY = Family(
    model_type="roberta",
    base="roberta",
    main_layer="roberta",
    encoder=Encoder(
        encoder,
        {"pytorch": "RobertaModel", "tf": "TFRobertaModel", "flax": "FlaxRobertaModel"},
        healings=(POSITIONS, TOKEN_TYPES),
    ),
    decoder=Decoder(
        decoder,
        head,
        self_attention=BERT_TWINS,
        classes={"pytorch": "RobertaForCausalLM", "tf": "TFRobertaForCausalLM", "flax": "FlaxRobertaForCausalLM"},
        healings=(POSITIONS,),
    ),
    defaults={
        "vocab_size": 50265,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 1,
    },
)
