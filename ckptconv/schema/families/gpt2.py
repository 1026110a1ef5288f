"""GPT-2. Source: transformers 4.57.6, models/gpt2/modeling_gpt2.py, modeling_tf_gpt2.py, modeling_flax_gpt2.py."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import REBUILT, activation, only, tied_output
from ckptconv.schema.family import Decoder, Encoder, Family, Twin
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    buffer,
    conv1d,
    embedding,
    layers,
    norm,
    part,
    under,
)


def mask(path: str) -> Modules:
    """The causal mask and its filler, which old versions saved."""
    return (buffer(f"{path}.bias", REBUILT), buffer(f"{path}.masked_bias", REBUILT))


def cross_attention(hidden: int) -> Iterator[Module]:
    """Query from the decoder, key and value in one from the encoder, and the norm before them."""
    yield conv1d("crossattention.q_attn", hidden, hidden)
    yield conv1d("crossattention.c_attn", 2 * hidden, hidden)
    yield conv1d("crossattention.c_proj", hidden, hidden)
    yield norm("ln_cross_attn", hidden)
    yield from mask("crossattention")


def block(hidden: int, inner: int, *, cross: bool) -> Iterator[Module]:
    """`GPT2Block`: query, key and value are one layer of three times the width."""
    yield norm("ln_1", hidden)
    yield conv1d("attn.c_attn", 3 * hidden, hidden)
    yield conv1d("attn.c_proj", hidden, hidden)
    yield from mask("attn")
    yield norm("ln_2", hidden)
    if cross:
        yield from part("cross-attention", cross_attention(hidden))
    yield from under("mlp", (conv1d("c_fc", inner, hidden), conv1d("c_proj", hidden, inner)))


def stack(c: Config, *, cross: bool) -> Iterator[Module]:
    """`GPT2Model`; an absent `n_inner` means four times the width."""
    hidden = c.size("hidden_size")
    inner = 4 * hidden if c.get("n_inner") is None else c.size("n_inner")
    yield embedding("wte", c.size("vocab_size"), hidden)
    yield embedding("wpe", c.size("n_positions"), hidden)
    yield from layers("h", c.size("n_layer"), block(hidden, inner, cross=cross))
    yield norm("ln_f", hidden)


def encoder(c: Config) -> Iterator[Module]:
    """`GPT2Model` without cross-attention."""
    return stack(c, cross=False)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `GPT2LMHeadModel`."""
    return stack(c, cross=True)


def head(c: Config) -> Modules:
    """The output projection, without a bias."""
    return tied_output("lm_head", c, "transformer.wte", bias=None)


def limits(c: Config) -> dict[NamingName, str]:
    """What TF's and Flax's attention ignores, beside the activation functions that they lack."""
    return {
        **activation(c, "activation_function"),
        **only(
            c,
            "scale_attn_weights",
            True,
            "these classes always divide by the root of the head's width",
        ),
        **only(
            c, "scale_attn_by_inverse_layer_idx", False, "these classes scale every layer alike"
        ),
        **only(
            c,
            "reorder_and_upcast_attn",
            False,
            "these classes attend in the model's own precision and order",
        ),
    }


FAMILY = Family(
    model_type="gpt2",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(
        encoder,
        {"pytorch": "GPT2Model", "tf": "TFGPT2Model", "flax": "FlaxGPT2Model"},
        limits=limits,
    ),
    decoder=Decoder(
        decoder,
        head,
        self_attention={
            "crossattention.q_attn": Twin("attn.c_attn", 0, 1, of=3),
            "crossattention.c_attn": Twin("attn.c_attn", 1, 3, of=3),
            "crossattention.c_proj": Twin("attn.c_proj"),
            "ln_cross_attn": Twin("ln_1"),
        },
        classes={
            "pytorch": "GPT2LMHeadModel",
            "tf": "TFGPT2LMHeadModel",
            "flax": "FlaxGPT2LMHeadModel",
        },
        limits=limits,
    ),
    defaults={
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
    },
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
    },
)
