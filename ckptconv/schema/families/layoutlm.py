"""LayoutLM: BERT with four more tables, for where on the page a word stands.

Source: transformers 4.57.6, models/layoutlm/modeling_layoutlm.py, modeling_tf_layoutlm.py. Irregular: x and y
serve two edges of a word's box each; without boxes, as `EncoderDecoderModel` is usually called, every word
stands at 0. There is no Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation, bert_embeddings, bert_layer, bert_pooler
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, embedding, layers, under


def encoder(c: Config) -> Iterator[Module]:
    """`LayoutLMModel`."""
    hidden = c.size("hidden_size")
    yield from under("embeddings", bert_embeddings(c))
    for axis in ("x", "y", "h", "w"):
        yield embedding(
            f"embeddings.{axis}_position_embeddings", c.size("max_2d_position_embeddings"), hidden
        )
    layer = bert_layer(hidden, c.size("intermediate_size"), cross=False)
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)
    yield from bert_pooler(c)


FAMILY = Family(
    model_type="layoutlm",
    base="layoutlm",
    main_layer="layoutlm",
    encoder=Encoder(
        encoder, {"pytorch": "LayoutLMModel", "tf": "TFLayoutLMModel"}, limits=activation
    ),
    defaults={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "max_2d_position_embeddings": 1024,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
)
