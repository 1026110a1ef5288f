"""ERNIE: BERT with a table of tasks, which a config may leave out.

Source: transformers 4.57.6, models/ernie. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_DEFAULTS,
    BERT_TWINS,
    bert_pooler,
    bert_predictions,
    bert_stack,
)
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import Module, embedding


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


FAMILY = Family(
    model_type="ernie",
    base="ernie",
    main_layer="ernie",
    encoder=Encoder(encoder, {"pytorch": "ErnieModel"}),
    decoder=Decoder(
        decoder, head, classes={"pytorch": "ErnieForCausalLM"}, self_attention=BERT_TWINS
    ),
    defaults={
        **BERT_DEFAULTS,
        "task_type_vocab_size": 3,
        "use_task_id": False,
    },
)
