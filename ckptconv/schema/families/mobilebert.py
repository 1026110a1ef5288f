"""MobileBERT, as an encoder: thin layers between bottlenecks, with several feed-forward pairs each.

Source: transformers 4.57.6, models/mobilebert/modeling_mobilebert.py, modeling_tf_mobilebert.py; no Flax class.
Irregular: what is called LayerNorm is a gain and an offset (`no_norm`) or a norm. In PyTorch some of the norms have
the default epsilon of 1e-5, in TF all have the config's. TF has a dot in the name of a feed-forward pair (`ffn.0`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, UNREAD_POOLER, activation, not_causal
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    affine,
    buffer,
    embedding,
    layers,
    linear,
    norm,
    under,
    word_embedding,
    zeros_if_absent,
)

TORCH_EPSILON = 1e-5


def scaled(c: Config, path: str, dim: int) -> Module:
    """What the config has in the place of a norm."""
    return affine(path, dim) if c.text("normalization_type") == "no_norm" else norm(path, dim)


def normed(c: Config, path: str, out: int, inp: int) -> Iterator[Module]:
    """A dense layer, and its norm or the like."""
    yield linear(f"{path}.dense", out, inp)
    yield scaled(c, f"{path}.LayerNorm", out)


def embeddings(c: Config) -> Iterator[Module]:
    """Each word with its neighbours (`trigram_input`), projected; then positions and token types."""
    hidden, width = c.size("hidden_size"), c.size("embedding_size")
    yield word_embedding("word_embeddings", c.size("vocab_size"), width)
    yield embedding("position_embeddings", c.size("max_position_embeddings"), hidden)
    yield embedding("token_type_embeddings", c.size("type_vocab_size"), hidden)
    yield linear(
        "embedding_transformation", hidden, 3 * width if c.flag("trigram_input") else width
    )
    yield scaled(c, "LayerNorm", hidden)
    yield buffer("position_ids", REBUILT)


def layer(c: Config) -> Iterator[Module]:
    """`MobileBertLayer`; without bottlenecks it is as wide as its input."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    width = c.size("intra_bottleneck_size") if c.flag("use_bottleneck") else hidden
    yield linear("attention.self.query", width, width)
    yield linear("attention.self.key", width, width)
    yield linear(
        "attention.self.value", width, width if c.flag("use_bottleneck_attention") else hidden
    )
    yield from normed(c, "attention.output", width, width)
    yield linear("intermediate.dense", inner, width)
    yield from normed(c, "output", width, inner)
    if c.flag("use_bottleneck"):
        yield from normed(c, "output.bottleneck", hidden, width)
        yield from normed(c, "bottleneck.input", width, hidden)
    if c.flag("use_bottleneck") and c.flag("key_query_shared_bottleneck"):
        yield from normed(c, "bottleneck.attention", width, hidden)
    for index in range(c.size("num_feedforward_networks") - 1):
        pair = (linear("intermediate.dense", inner, width), *normed(c, "output", width, inner))
        yield from under(f"ffn.{index}", pair, tf=(f"ffn.{index}",))


def encoder(c: Config) -> Iterator[Module]:
    """`MobileBertModel`; its pooler is a layer only where `classifier_activation` says so."""
    hidden = c.size("hidden_size")
    yield from under("embeddings", embeddings(c))
    yield from layers("encoder.layer", c.size("num_hidden_layers"), layer(c))
    if c.flag("classifier_activation"):
        yield from zeros_if_absent([linear("pooler.dense", hidden, hidden)], UNREAD_POOLER)


def limits(c: Config) -> Mapping[NamingName, str]:
    """Activations that a framework lacks, a causal encoder, what TF asserts in vain, epsilons of PyTorch's own."""
    reasons = activation(c) | not_causal(c)
    if c.size("hidden_size") % max(1, c.size("num_attention_heads")):
        reasons["tf"] = "TF's class wants 'hidden_size' to be a multiple of 'num_attention_heads'"
    if c.text("normalization_type") != "no_norm" and c.get("layer_norm_eps") != TORCH_EPSILON:
        reasons["tf"] = (
            "some norms add PyTorch's 1e-5 in PyTorch, and the config's 'layer_norm_eps' in TF"
        )
    return reasons


FAMILY = Family(
    model_type="mobilebert",
    base="mobilebert",
    main_layer="mobilebert",
    encoder=Encoder(
        encoder, {"pytorch": "MobileBertModel", "tf": "TFMobileBertModel"}, limits=limits
    ),
    defaults={
        "vocab_size": 30522,
        "embedding_size": 128,
        "hidden_size": 512,
        "num_hidden_layers": 24,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "intra_bottleneck_size": 128,
        "hidden_act": "relu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        "trigram_input": True,
        "use_bottleneck": True,
        "use_bottleneck_attention": False,
        "key_query_shared_bottleneck": True,
        "num_feedforward_networks": 4,
        "normalization_type": "no_norm",
        "layer_norm_eps": 1e-12,
        "classifier_activation": True,
    },
)
