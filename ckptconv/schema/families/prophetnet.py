"""ProphetNet: a decoder that predicts several tokens ahead, of one piece or behind another encoder.

Source: transformers 4.57.6, models/prophetnet. PyTorch alone has a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import tied_output
from ckptconv.schema.family import Decoder, Family, Standalone, Twin, Whole
from ckptconv.schema.tensors import (
    Module,
    Modules,
    embedding,
    layers,
    linear,
    norm,
    part,
    repeats,
    under,
    word_embedding,
)

PROJECTIONS = ("key_proj", "value_proj", "query_proj", "out_proj")


def attention(name: str, hidden: int) -> Iterator[Module]:
    """`ProphetNetAttention` and its norm."""
    yield from under(name, (linear(path, hidden, hidden) for path in PROJECTIONS))
    yield norm(f"{name}_layer_norm", hidden)


def layer(c: Config, side: str) -> Iterator[Module]:
    """A layer of one side; the decoder's attention has distances that it computes from its state."""
    hidden, inner = c.size("hidden_size"), c.size(f"{side}_ffn_dim")
    yield from attention("self_attn", hidden)
    if side == "decoder":
        distances = c.size("num_buckets") * c.size("num_decoder_attention_heads")
        yield linear("self_attn.relative_pos_embeddings", distances, hidden)
        yield from part("cross-attention", attention("cross_attn", hidden))
    yield linear("feed_forward.intermediate", inner, hidden)
    yield linear("feed_forward.output", hidden, inner)
    yield norm("feed_forward_layer_norm", hidden)


def stack(c: Config, side: str) -> Iterator[Module]:
    """One side without its word embeddings."""
    hidden = c.size("hidden_size")
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield norm("embeddings_layer_norm", hidden)
    if side == "decoder":
        yield embedding("ngram_embeddings", c.size("ngram"), hidden)
    yield from layers("layers", c.size(f"num_{side}_layers"), layer(c, side))


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `ProphetNetForCausalLM`, which holds the table of words and gives it to the decoder."""
    sizes = c.size("vocab_size"), c.size("hidden_size")
    yield word_embedding("word_embeddings", *sizes)
    again = word_embedding("decoder.word_embeddings", *sizes)
    tied = c.flag("tie_word_embeddings", default=True)
    yield repeats(again, "word_embeddings", tied=True, repeated_by=() if tied else ("pytorch",))
    yield from under("decoder", stack(c, "decoder"))


def head(c: Config) -> Modules:
    """The output projection, without a bias."""
    return tied_output("lm_head", c, "prophetnet.word_embeddings", bias=None)


def whole(c: Config) -> Iterator[Module]:
    """`ProphetNetForConditionalGeneration`; untied, each side reads its own table from a file."""
    vocab, hidden = c.size("vocab_size"), c.size("hidden_size")
    tied, words = c.flag("tie_word_embeddings", default=True), "prophetnet.word_embeddings"
    yield from part("encoder", [embedding(words, vocab, hidden)])
    for side in ("encoder", "decoder"):
        table = embedding(f"prophetnet.{side}.word_embeddings", vocab, hidden)
        alias = repeats(table, words, tied=True, repeated_by=() if tied else ("pytorch",))
        yield replace(alias, part=side)
        yield from part(side, under(f"prophetnet.{side}", stack(c, side)))
    output = repeats(linear("lm_head", vocab, hidden, bias=False), words, tied=tied)
    yield replace(output, part="head")


def encoder(c: Config) -> Iterator[Module]:
    """`ProphetNetEncoder`, which has a table of words of its own."""
    yield embedding("word_embeddings", c.size("vocab_size"), c.size("hidden_size"))
    yield from stack(c, "encoder")


ENCODER = Standalone(
    "ProphetNetEncoder",
    encoder,
    below="prophetnet.encoder.",
    no_pair="AutoModel builds all of ProphetNetModel from its config, and no composite runs that",
)

FAMILY = Family(
    model_type="prophetnet",
    base="prophetnet",
    main_layer="prophetnet",
    decoder=Decoder(
        decoder,
        head,
        self_attention={
            **{f"cross_attn.{name}": Twin(f"self_attn.{name}") for name in PROJECTIONS},
            "cross_attn_layer_norm": Twin("self_attn_layer_norm"),
        },
        classes={"pytorch": "ProphetNetForCausalLM"},
    ),
    whole=Whole(
        whole, {"pytorch": "ProphetNetForConditionalGeneration"}, sides={"encoder": ENCODER}
    ),
    defaults={
        "vocab_size": 30522,
        "hidden_size": 1024,
        "encoder_ffn_dim": 4096,
        "num_encoder_layers": 12,
        "num_encoder_attention_heads": 16,
        "decoder_ffn_dim": 4096,
        "num_decoder_layers": 12,
        "num_decoder_attention_heads": 16,
        "max_position_embeddings": 512,
        "activation_function": "gelu",
        "ngram": 2,
        "num_buckets": 32,
        "pad_token_id": 0,
        "add_cross_attention": True,
    },
    aliases={"num_attention_heads": "num_encoder_attention_heads"},
    positions="padding",
    spare_positions=1,
)
