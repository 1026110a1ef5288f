"""ERNIE: BERT with a table of tasks, which a config may leave out.

Source: transformers 4.57.6, models/ernie. PyTorch alone has a class; without the table BERT's classes compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_DEFAULTS,
    BERT_TWINS,
    bert_limits,
    bert_pooler,
    bert_predictions,
    bert_stack,
)
from ckptconv.schema.family import Decoder, Encoder, Family, StandIn
from ckptconv.schema.fixes import RepeatTokenType
from ckptconv.schema.tensors import Module, NamingName, embedding


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`ErnieModel` without its pooler."""
    yield from bert_stack(c, cross=cross)
    if c.flag("use_task_id"):
        rows = c.size("task_type_vocab_size")
        yield embedding("embeddings.task_type_embeddings", rows, c.size("hidden_size"))


def encoder(c: Config) -> Iterator[Module]:
    """`ErnieModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `ErnieForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`ErnieOnlyMLMHead`."""
    return bert_predictions(c, base="ernie")


def limits(c: Config) -> dict[NamingName, str]:
    """What BERT's classes lack."""
    reasons = bert_limits(c)
    if c.flag("use_task_id"):
        why = "'use_task_id' is true, and BERT's class has no table of tasks"
        reasons = {"tf": why, "flax": why, **reasons}
    return reasons


BERT = StandIn("bert", "BERT")
AS_BERT: Mapping[NamingName, StandIn] = {"tf": BERT, "flax": BERT}


FAMILY = Family(
    model_type="ernie",
    base="ernie",
    main_layer="ernie",
    encoder=Encoder(
        encoder,
        {"pytorch": "ErnieModel", "tf": "TFBertModel", "flax": "FlaxBertModel"},
        healings=(RepeatTokenType("embeddings.token_type_embeddings"),),
        limits=limits,
        stand_ins=AS_BERT,
    ),
    decoder=Decoder(
        decoder,
        head,
        classes={
            "pytorch": "ErnieForCausalLM",
            "tf": "TFBertLMHeadModel",
            "flax": "FlaxBertForCausalLM",
        },
        self_attention=BERT_TWINS,
        limits=limits,
        stand_ins=AS_BERT,
    ),
    defaults={
        **BERT_DEFAULTS,
        "task_type_vocab_size": 3,
        "use_task_id": False,
    },
)
