"""X-MOD: RoBERTa with an adapter for each language after every layer; the config's default language is the one used.

Source: transformers 4.57.6, models/xmod. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    bert_embeddings,
    bert_layer,
    bert_pooler,
    relative_positions,
)
from ckptconv.schema.families._roberta import ROBERTA_DEFAULTS, roberta_head
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import Module, layers, linear, norm, under


def adapters(c: Config) -> Iterator[Module]:
    """What follows the feed-forward of a layer: one pair of dense layers a language, and a norm for all."""
    hidden = c.size("hidden_size")
    narrow = hidden // max(1, c.size("adapter_reduction_factor"))
    if c.flag("adapter_layer_norm"):
        yield norm("output.adapter_layer_norm", hidden)
    for language in c.texts("languages"):
        pair = (linear("dense1", narrow, hidden), linear("dense2", hidden, narrow))
        yield from under(f"output.adapter_modules.{language}", pair)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`XmodModel` without its pooler."""
    sizes = c.size("hidden_size"), c.size("intermediate_size")
    layer = bert_layer(*sizes, cross=cross, distances=relative_positions(c))
    yield from under("embeddings", bert_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), (*layer, *adapters(c)))
    if c.flag("pre_norm"):
        yield norm("encoder.LayerNorm", c.size("hidden_size"))


def encoder(c: Config) -> Iterator[Module]:
    """`XmodModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `XmodForCausalLM`."""
    return stack(c, cross=True)


FAMILY = Family(
    model_type="xmod",
    base="roberta",
    main_layer="roberta",
    encoder=Encoder(encoder, {"pytorch": "XmodModel"}),
    decoder=Decoder(
        decoder, roberta_head, classes={"pytorch": "XmodForCausalLM"}, self_attention=BERT_TWINS
    ),
    defaults={
        **ROBERTA_DEFAULTS,
        "vocab_size": 30522,
        "pre_norm": False,
        "adapter_reduction_factor": 2,
        "adapter_layer_norm": False,
        "languages": ["en_XX"],
    },
    positions="padding",
)
