"""TAPAS: BERT with seven tables of token types, for where in a table a cell stands.

Source: transformers 4.57.6, models/tapas/modeling_tapas.py, modeling_tf_tapas.py. Irregular: `type_vocab_sizes` is
a list with a size for each table; without token types, as `EncoderDecoderModel` is usually called, all are 0.
There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    REBUILT,
    activation,
    bert_layer,
    bert_pooler,
    not_causal,
)
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    buffer,
    embedding,
    layers,
    norm,
    under,
    word_embedding,
)


def embeddings(c: Config) -> Iterator[Module]:
    """Words, positions and all token types, summed and normed."""
    hidden = c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), hidden)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    for number, rows in enumerate(c.sizes("type_vocab_sizes")):
        yield embedding(f"token_type_embeddings_{number}", rows, hidden)
    yield norm("LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)


def encoder(c: Config) -> Iterator[Module]:
    """`TapasModel`."""
    layer = bert_layer(c.size("hidden_size"), c.size("intermediate_size"), cross=False)
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)
    yield from bert_pooler(c)


def limits(c: Config) -> dict[NamingName, str]:
    """What TF lacks: activations and causal encoders."""
    return activation(c) | not_causal(c)


FAMILY = Family(
    model_type="tapas",
    base="tapas",
    main_layer="tapas",
    encoder=Encoder(encoder, {"pytorch": "TapasModel", "tf": "TFTapasModel"}, limits=limits),
    defaults={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 1024,
        "type_vocab_sizes": [3, 256, 256, 2, 256, 256, 10],
        "pad_token_id": 0,
    },
)
