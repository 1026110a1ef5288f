"""RemBERT: BERT's stack between two embedding widths, one for the input and one for the output.

Source: transformers 4.57.6, models/rembert/modeling_rembert.py, modeling_tf_rembert.py; there is no Flax class.
Irregular: the head is never tied (the config class sets `tie_word_embeddings` to false whatever the file says),
and TF's class makes it by hand, so that it holds it in PyTorch's order under PyTorch's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    activation,
    bert_embeddings,
    bert_layer,
    bert_pooler,
)
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import Module, NamingName, layers, linear, norm, parameter, under


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`RemBertModel` without its pooler."""
    hidden, width = c.size("hidden_size"), c.size("input_embedding_size")
    yield from under("embeddings", bert_embeddings(c, width))
    yield linear("encoder.embedding_hidden_mapping_in", hidden, width)
    once = bert_layer(hidden, c.size("intermediate_size"), cross=cross)
    yield from layers("encoder.layer", c.size("num_hidden_layers"), once)


def encoder(c: Config) -> Iterator[Module]:
    """`RemBertModel`."""
    yield from stack(c, cross=False)
    yield from bert_pooler(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `RemBertForCausalLM`, which has no pooler."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`RemBertLMPredictionHead`; TF calls the level `cls` otherwise."""
    vocab, width = c.size("vocab_size"), c.size("output_embedding_size")
    predictions = [
        linear("predictions.dense", width, c.size("hidden_size")),
        norm("predictions.LayerNorm", width),
        parameter("predictions.decoder.weight", out=vocab, inp=width),
        parameter("predictions.decoder.bias", out=vocab),
    ]
    return iter(under("cls", predictions, tf="mlm___cls"))


def limits(c: Config) -> Mapping[NamingName, str]:
    """Activations that a framework lacks; positions are absolute in every one."""
    return activation(c)


FAMILY = Family(
    model_type="rembert",
    base="rembert",
    main_layer="rembert",
    encoder=Encoder(encoder, {"pytorch": "RemBertModel", "tf": "TFRemBertModel"}, limits=limits),
    decoder=Decoder(
        decoder,
        head,
        classes={"pytorch": "RemBertForCausalLM", "tf": "TFRemBertForCausalLM"},
        self_attention=BERT_TWINS,
        limits=limits,
    ),
    defaults={
        "vocab_size": 250300,
        "input_embedding_size": 256,
        "output_embedding_size": 1664,
        "hidden_size": 1152,
        "num_hidden_layers": 32,
        "num_attention_heads": 18,
        "intermediate_size": 4608,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
