"""RoCBert: BERT that also reads how a character sounds and looks; absent, both are those of the padding.

Source: transformers 4.57.6, models/roc_bert. PyTorch alone has a class.
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
from ckptconv.schema.tensors import Module, embedding, linear, under


def beside_words(c: Config) -> Iterator[Module]:
    """Sounds and shapes, and the dense layer over all three."""
    hidden = width = c.size("hidden_size")
    for name in ("pronunciation", "shape"):
        dim = c.size(f"{name}_embed_dim")
        yield embedding(f"{name}_embed", c.size(f"{name}_vocab_size"), dim)
        width += dim if c.flag(f"enable_{name}", default=True) else 0
    if c.flag("concat_input", default=True):
        yield linear("map_inputs_layer", hidden, width)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`RoCBertModel` without its pooler."""
    yield from bert_stack(c, cross=cross)
    yield from under("embeddings", beside_words(c))


def encoder(c: Config) -> Iterator[Module]:
    """`RoCBertModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `RoCBertForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`RoCBertOnlyMLMHead`."""
    return bert_predictions(c, base="roc_bert")


FAMILY = Family(
    model_type="roc_bert",
    base="roc_bert",
    main_layer="roc_bert",
    encoder=Encoder(encoder, {"pytorch": "RoCBertModel"}),
    decoder=Decoder(
        decoder, head, classes={"pytorch": "RoCBertForCausalLM"}, self_attention=BERT_TWINS
    ),
    defaults={
        **BERT_DEFAULTS,
        "concat_input": True,
        "enable_pronunciation": True,
        "enable_shape": True,
        "pronunciation_embed_dim": 768,
        "pronunciation_vocab_size": 910,
        "shape_embed_dim": 512,
        "shape_vocab_size": 24858,
    },
)
