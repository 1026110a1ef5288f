"""DeBERTa: attention to what a token says and to how far away it is, apart from each other.

Source: transformers 4.57.6, models/deberta/modeling_deberta.py, modeling_tf_deberta.py. Irregular: query, key and
value are one layer without a bias, query and value have theirs as bare tensors, and the key has none; which
projections of distances there are follows from `pos_att_type`. `talking_head` is not in the table: TF's class
cannot build it. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._deberta import (
    DEBERTA_DEFAULTS,
    deberta_embeddings,
    deberta_limits,
    distances,
    longest_distance,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, layers, linear, norm, parameter, under


def attention(c: Config) -> Iterator[Module]:
    """`DebertaAttention`."""
    hidden = c.size("hidden_size")
    yield linear("self.in_proj", 3 * hidden, hidden, bias=False)
    yield parameter("self.q_bias", out=hidden)
    yield parameter("self.v_bias", out=hidden)
    if c.flag("relative_attention") and "c2p" in c.words("pos_att_type"):
        yield linear("self.pos_proj", hidden, hidden, bias=False)
    if c.flag("relative_attention") and "p2c" in c.words("pos_att_type"):
        yield linear("self.pos_q_proj", hidden, hidden)
    yield linear("output.dense", hidden, hidden)
    yield norm("output.LayerNorm", hidden)


def layer(c: Config) -> Iterator[Module]:
    """`DebertaLayer`."""
    hidden, intermediate = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", attention(c))
    yield linear("intermediate.dense", intermediate, hidden)
    yield linear("output.dense", hidden, intermediate)
    yield norm("output.LayerNorm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`DebertaModel`, which has no pooler."""
    yield from under("embeddings", deberta_embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))
    if c.flag("relative_attention"):
        yield from distances(c, longest_distance(c))


FAMILY = Family(
    model_type="deberta",
    base="deberta",
    main_layer="deberta",
    encoder=Encoder(
        encoder, {"pytorch": "DebertaModel", "tf": "TFDebertaModel"}, limits=deberta_limits
    ),
    defaults={
        **DEBERTA_DEFAULTS,
        "vocab_size": 50265,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
)
