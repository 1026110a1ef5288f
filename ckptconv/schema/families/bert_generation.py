"""BertGeneration: BERT's stack without token types and pooler.

Source: transformers 4.57.6, models/bert_generation. PyTorch alone has a class. BERT's compute what the encoder does,
with token types of zeros; in Flax one for each position, since `encode` passes these as token types.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import (
    BERT_TWINS,
    REBUILT,
    bert_layer,
    bert_limits,
    relative_positions,
    tied_output,
)
from ckptconv.schema.family import Decoder, Encoder, Family, StandIn
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    parameter,
    under,
    word_embedding,
    zeros_in,
)


def embeddings(c: Config) -> Iterator[Module]:
    """Words and positions, summed and normed."""
    hidden = c.size("hidden_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), hidden)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield norm("LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`BertGenerationEncoder`, which is also the base model of the decoder."""
    layer = bert_layer(
        c.size("hidden_size"),
        c.size("intermediate_size"),
        cross=cross,
        distances=relative_positions(c),
    )
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer)


def encoder(c: Config) -> Iterator[Module]:
    """Without cross-attention; with what BERT's classes have beside."""
    yield from stack(c, cross=False)
    hidden = c.size("hidden_size")
    for naming, types in ((TF, 1), (FLAX, c.size("max_position_embeddings"))):
        table = embedding("embeddings.token_type_embeddings", types, hidden)
        pooler = linear("pooler.dense", hidden, hidden)
        yield from zeros_in(naming, [table, pooler], "this model has none")


TF: NamingName = "tf"
FLAX: NamingName = "flax"


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `BertGenerationDecoder`."""
    return stack(c, cross=True)


def head(c: Config) -> Iterator[Module]:
    """`BertGenerationOnlyLMHead`: a projection that repeats the word embeddings, and a bias."""
    yield parameter("lm_head.bias", out=c.size("vocab_size"))
    yield from tied_output(
        "lm_head.decoder", c, "bert.embeddings.word_embeddings", bias="lm_head.bias"
    )


FAMILY = Family(
    model_type="bert-generation",
    base="bert",
    main_layer="bert",
    encoder=Encoder(
        encoder,
        {"pytorch": "BertGenerationEncoder", "tf": "TFBertModel", "flax": "FlaxBertModel"},
        limits=bert_limits,
        stand_ins={
            "tf": StandIn("bert", "BERT", lambda _c: {"type_vocab_size": 1}),
            "flax": StandIn(
                "bert", "BERT", lambda c: {"type_vocab_size": c.size("max_position_embeddings")}
            ),
        },
    ),
    decoder=Decoder(
        decoder, head, classes={"pytorch": "BertGenerationDecoder"}, self_attention=BERT_TWINS
    ),
    defaults={
        "vocab_size": 50358,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "position_embedding_type": "absolute",
        "pad_token_id": 0,
    },
)
