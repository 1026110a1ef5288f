"""What RoBERTa and its relatives share: the head, and positions that count from `pad_token_id + 1`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    bert_pooler,
    bert_stack,
    roberta_limits,
    tied_output,
)
from ckptconv.schema.family import Decoder, Encoder, StandIn
from ckptconv.schema.fixes import RepeatTokenType, RollPositions
from ckptconv.schema.tensors import Module, NamingName, linear, norm, parameter

POSITIONS = RollPositions("embeddings.position_embeddings")
TOKEN_TYPES = RepeatTokenType("embeddings.token_type_embeddings")


def _encoder(c: Config) -> Iterator[Module]:
    yield from bert_stack(c, cross=False)
    yield from bert_pooler(c)


def _decoder(c: Config) -> Iterator[Module]:
    return bert_stack(c, cross=True)


def roberta_head(c: Config, base: str = "roberta") -> Iterator[Module]:
    """`RobertaLMHead`; `base` is where the embeddings lie that it repeats."""
    vocab, hidden = c.size("vocab_size"), c.size("hidden_size")
    yield linear("lm_head.dense", hidden, hidden)
    yield norm("lm_head.layer_norm", hidden)
    yield parameter("lm_head.bias", out=vocab)
    yield from tied_output(
        "lm_head.decoder", c, f"{base}.embeddings.word_embeddings", bias="lm_head.bias"
    )


def roberta_encoder(
    classes: Mapping[NamingName, str], stand_ins: Mapping[NamingName, StandIn] | None = None
) -> Encoder:
    """`RobertaModel` under another class name. Args: stand_ins: where RoBERTa's own class holds it."""
    return Encoder(
        _encoder,
        classes,
        healings=(POSITIONS, TOKEN_TYPES),
        limits=roberta_limits,
        stand_ins=stand_ins or {},
    )


def roberta_decoder(
    classes: Mapping[NamingName, str], stand_ins: Mapping[NamingName, StandIn] | None = None
) -> Decoder:
    """`RobertaForCausalLM` under another class name; its base model has no pooler. Args: as `roberta_encoder`."""
    return Decoder(
        _decoder,
        roberta_head,
        classes,
        self_attention=BERT_TWINS,
        healings=(POSITIONS,),
        limits=roberta_limits,
        stand_ins=stand_ins or {},
    )


ROBERTA_DEFAULTS: Mapping[str, Json] = {
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "pad_token_id": 1,
}
