"""LUKE: RoBERTa that may also read entities, of which an encoder-decoder gives it none.

Source: transformers 4.57.6, models/luke. PyTorch alone has a class. What reads entities is stored all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import bert_embeddings, bert_layer, bert_pooler
from ckptconv.schema.families._roberta import ROBERTA_DEFAULTS
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, embedding, layers, linear, norm, under


def entities(c: Config) -> Iterator[Module]:
    """`LukeEntityEmbeddings`."""
    hidden, dim = c.size("hidden_size"), c.size("entity_emb_size")
    yield embedding("entity_embeddings", c.size("entity_vocab_size"), dim)
    if dim != hidden:
        yield linear("entity_embedding_dense", hidden, dim, bias=False)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), hidden)
    yield norm("LayerNorm", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`LukeModel`."""
    hidden = c.size("hidden_size")
    layer = [*bert_layer(hidden, c.size("intermediate_size"), cross=False)]
    if c.flag("use_entity_aware_attention", default=True):
        layer += [
            linear(f"attention.self.{name}_query", hidden, hidden) for name in ("w2e", "e2w", "e2e")
        ]
    yield from under("embeddings", bert_embeddings(c))
    yield from under("entity_embeddings", entities(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)
    yield from bert_pooler(c)


FAMILY = Family(
    model_type="luke",
    base="luke",
    main_layer="luke",
    encoder=Encoder(encoder, {"pytorch": "LukeModel"}),
    defaults={
        **{
            key: value
            for key, value in ROBERTA_DEFAULTS.items()
            if key != "position_embedding_type"
        },
        "vocab_size": 50267,
        "entity_vocab_size": 500000,
        "entity_emb_size": 256,
        "use_entity_aware_attention": True,
    },
    positions="padding",
)
