"""BigBird: BERT's stack with sparse attention, which has the same tensors; PyTorch alone runs it.

Source: transformers 4.57.6, models/big_bird/modeling_big_bird.py, modeling_flax_big_bird.py; there is no TF class.
Irregular: the base model is called `bert`, its pooler is one dense layer without a level of its own and the
decoder has it too, and `use_bias` takes the biases from query, key and value. Flax's module has no default for
`token_type_ids`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    UNREAD_POOLER,
    bert_embeddings,
    bert_predictions,
)
from ckptconv.schema.family import Decoder, Encoder, Family
from ckptconv.schema.tensors import Module, layers, linear, norm, part, under, zeros_if_absent

NO_TOKEN_TYPES = "FlaxBigBirdModule needs `token_type_ids`, and FlaxEncoderDecoderModel passes none"


def attention(hidden: int, *, bias: bool) -> Iterator[Module]:
    """`BigBirdAttention`, full or sparse."""
    for name in ("query", "key", "value"):
        yield linear(f"self.{name}", hidden, hidden, bias=bias)
    yield linear("output.dense", hidden, hidden)
    yield norm("output.LayerNorm", hidden)


def layer(c: Config, *, cross: bool) -> Iterator[Module]:
    """`BigBirdLayer`."""
    hidden, inner, bias = c.size("hidden_size"), c.size("intermediate_size"), c.flag("use_bias")
    yield from under("attention", attention(hidden, bias=bias))
    if cross:
        yield from part("cross-attention", under("crossattention", attention(hidden, bias=bias)))
    yield linear("intermediate.dense", inner, hidden)
    yield linear("output.dense", hidden, inner)
    yield norm("output.LayerNorm", hidden)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`BigBirdModel`."""
    hidden = c.size("hidden_size")
    yield from under("embeddings", bert_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c, cross=cross))
    yield from zeros_if_absent([linear("pooler", hidden, hidden)], UNREAD_POOLER)


def encoder(c: Config) -> Iterator[Module]:
    """`BigBirdModel` without cross-attention."""
    return stack(c, cross=False)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `BigBirdForCausalLM`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`BigBirdOnlyMLMHead`."""
    return bert_predictions(c, base="bert")


FAMILY = Family(
    model_type="big_bird",
    base="bert",
    main_layer="bert",
    encoder=Encoder(encoder, {"pytorch": "BigBirdModel"}, refused={"flax": NO_TOKEN_TYPES}),
    decoder=Decoder(
        decoder,
        head,
        classes={"pytorch": "BigBirdForCausalLM"},
        self_attention=BERT_TWINS,
        refused={"flax": NO_TOKEN_TYPES},
    ),
    defaults={
        "vocab_size": 50358,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 4096,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        "use_bias": True,
    },
)
