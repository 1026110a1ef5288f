"""What wav2vec2 and its kin share: convolutions over samples, positions by a convolution, and norms before each part.

Source: transformers 4.57.6, models/wav2vec2/modeling_wav2vec2.py, modeling_flax_wav2vec2.py, models/hubert, unispeech.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import PROJECTIONS
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.family import StandIn
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    convolution,
    held_by,
    layers,
    linear,
    norm,
    parameter,
    under,
    weight_norm_conv,
    zeros_if_absent,
)

UNREAD_MASK = "the composite masks no frame"


def feature_extractor(c: Config) -> Iterator[Module]:
    """Convolutions over samples, each with a norm, or only the first with one a group."""
    inputs, bias = 1, c.flag("conv_bias")
    for number, (out, kernel) in enumerate(
        zip(c.sizes("conv_dim"), c.sizes("conv_kernel"), strict=False)
    ):
        path = f"conv_layers.{number}"
        yield convolution(f"{path}.conv", out, inputs, kernel, bias=bias)
        if number == 0 or c.get("feat_extract_norm") in (None, "layer"):
            yield norm(f"{path}.layer_norm", out)
        inputs = out


def layer(c: Config) -> Iterator[Module]:
    """`Wav2Vec2EncoderLayer`; with `do_stable_layer_norm` its norms stand before each part, under the same names."""
    hidden, inner = c.size("hidden_size"), c.size("intermediate_size")
    yield from under("attention", (linear(name, hidden, hidden) for name in PROJECTIONS))
    yield norm("layer_norm", hidden)
    yield linear("feed_forward.intermediate_dense", inner, hidden)
    yield linear("feed_forward.output_dense", hidden, inner)
    yield norm("final_layer_norm", hidden)
    if c.get("adapter_attn_dim") is not None and c.flag("do_stable_layer_norm"):
        narrow = c.size("adapter_attn_dim")
        yield norm("adapter_layer.norm", hidden)
        yield linear("adapter_layer.linear_1", narrow, hidden)
        yield linear("adapter_layer.linear_2", hidden, narrow)


def mask_vector(c: Config) -> Iterator[Module]:
    """What stands for a masked frame: PyTorch has it where the config masks, Flax always, and nothing reads it."""
    vector = parameter("masked_spec_embed", dim=c.size("hidden_size"))
    masks = c.number("mask_time_prob") > 0 or c.number("mask_feature_prob") > 0
    namings: tuple[NamingName, ...] = ("pytorch", "flax") if masks else ("flax",)
    yield from zeros_if_absent(held_by(namings, [vector]), UNREAD_MASK)


def projection(c: Config) -> Iterator[Module]:
    """`Wav2Vec2FeatureProjection`, from the last convolution's channels to the model's width."""
    for width in c.sizes("conv_dim")[-1:]:
        yield norm("feature_projection.layer_norm", width)
        yield linear("feature_projection.projection", c.size("hidden_size"), width)


def adapter(c: Config) -> Iterator[Module]:
    """`Wav2Vec2Adapter`: convolutions that halve the frames, each gating itself, where the config has them."""
    if c.flag("add_adapter"):
        hidden = c.size("hidden_size")
        out = hidden if c.get("output_hidden_size") is None else c.size("output_hidden_size")
        if out != hidden:
            yield linear("adapter.proj", out, hidden)
            yield norm("adapter.proj_layer_norm", out)
        gated = convolution("conv", 2 * out, out, c.size("adapter_kernel_size"))
        yield from layers("adapter.layers", c.size("num_adapter_layers"), [gated])


def wav2vec2_stack(c: Config) -> Iterator[Module]:
    """`Wav2Vec2Model` without an adapter."""
    hidden = c.size("hidden_size")
    yield from mask_vector(c)
    yield from under("feature_extractor", feature_extractor(c))
    yield from projection(c)
    kernel, groups = c.size("num_conv_pos_embeddings"), c.size("num_conv_pos_embedding_groups")
    path = "encoder.pos_conv_embed.conv"
    yield weight_norm_conv(path, hidden, hidden, kernel, max(1, groups))
    yield norm("encoder.layer_norm", hidden)
    yield from layers("encoder.layers", c.size("num_hidden_layers"), layer(c))


EPSILON = 1e-5
"""Of the norms in PyTorch's feature extractor, whatever the config says."""


def flax_limits(c: Config) -> dict[NamingName, str]:
    """What the Flax class lacks or ignores."""
    reasons: dict[NamingName, str] = {}
    functions = activation(c)
    if "flax" in functions:
        reasons["flax"] = functions["flax"]
    if not c.flag("do_stable_layer_norm") or c.text("feat_extract_norm") != "layer":
        reasons["flax"] = "this class has norms before each part and after each convolution alone"
    elif c.get("adapter_attn_dim") is not None:
        reasons["flax"] = "'adapter_attn_dim' is set, and this class ignores it"
    elif c.number("layer_norm_eps") != EPSILON:
        reasons["flax"] = (
            "'layer_norm_eps' is not 1e-05, and this class uses it in its feature extractor, where PyTorch does not"
        )
    return reasons


AS_WAV2VEC2: Mapping[NamingName, StandIn] = {"flax": StandIn("wav2vec2", "wav2vec2")}
"""Of families that are wav2vec2 under another name."""

WAV2VEC2_DEFAULTS: Mapping[str, Json] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "feat_extract_norm": "group",
    "conv_dim": [512, 512, 512, 512, 512, 512, 512],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
    "mask_time_prob": 0.05,
    "mask_feature_prob": 0.0,
    "layer_norm_eps": 1e-5,
}
