"""data2vec for text: RoBERTa under another name.

Source: transformers 4.57.6, models/data2vec/modeling_data2vec_text.py. PyTorch alone has a class;
RoBERTa's compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import BERT_TWINS, bert_pooler, bert_stack, roberta_limits
from ckptconv.schema.families._roberta import (
    POSITIONS,
    ROBERTA_DEFAULTS,
    TOKEN_TYPES,
    roberta_head,
)
from ckptconv.schema.family import Decoder, Encoder, Family, StandIn
from ckptconv.schema.tensors import Module, NamingName


def encoder(c: Config) -> Iterator[Module]:
    """`Data2VecTextModel`."""
    yield from bert_stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `Data2VecTextForCausalLM`."""
    return bert_stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`Data2VecTextLMHead`."""
    return roberta_head(c, base="data2vec_text")


ROBERTA = StandIn("roberta", "RoBERTa")
AS_ROBERTA: Mapping[NamingName, StandIn] = {"tf": ROBERTA, "flax": ROBERTA}


FAMILY = Family(
    model_type="data2vec-text",
    base="data2vec_text",
    main_layer="data2vec_text",
    encoder=Encoder(
        encoder,
        {"pytorch": "Data2VecTextModel", "tf": "TFRobertaModel", "flax": "FlaxRobertaModel"},
        healings=(POSITIONS, TOKEN_TYPES),
        limits=roberta_limits,
        stand_ins=AS_ROBERTA,
    ),
    decoder=Decoder(
        decoder,
        head,
        classes={
            "pytorch": "Data2VecTextForCausalLM",
            "tf": "TFRobertaForCausalLM",
            "flax": "FlaxRobertaForCausalLM",
        },
        self_attention=BERT_TWINS,
        healings=(POSITIONS,),
        limits=roberta_limits,
        stand_ins=AS_ROBERTA,
    ),
    defaults={**ROBERTA_DEFAULTS, "vocab_size": 30522},
    positions="padding",
)
