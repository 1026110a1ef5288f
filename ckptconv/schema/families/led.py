"""LED: BART whose encoder attends to a window and to a few places from everywhere.

Source: transformers 4.57.6, models/led/modeling_led.py, modeling_tf_led.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    Style,
    bart_layer,
    bart_whole,
    whole_limits,
)
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module, Modules, embedding, linear, norm, part, under


def encoder_layer(hidden: int, inner: int) -> Iterator[Module]:
    """`LEDEncoderLayer`: query, key and value once more for the places that see everything."""
    for name in ("query", "key", "value"):
        for path in (name, f"{name}_global"):
            yield from under("self_attn.longformer_self_attn", [linear(path, hidden, hidden)])
    yield linear("self_attn.output", hidden, hidden)
    yield norm("self_attn_layer_norm", hidden)
    yield linear("fc1", inner, hidden)
    yield linear("fc2", hidden, inner)
    yield norm("final_layer_norm", hidden)


def layer(c: Config, side: str) -> Modules:
    """A layer of one side, with the side's own table of positions before the stack's."""
    hidden, inner = c.size("d_model"), c.size(f"{side}_ffn_dim")
    return (
        encoder_layer(hidden, inner) if side == "encoder" else bart_layer(hidden, inner, cross=True)
    )


def no_positions(_c: Config) -> Modules:
    """The sides' tables differ in length, so that they stand apart."""
    return ()


STYLE = Style(no_positions, first_norm=True, inside="led")
stacks = bart_whole(STYLE, layer)


def whole(c: Config) -> Iterator[Module]:
    """`LEDForConditionalGeneration`."""
    yield from stacks(c)
    for side in ("encoder", "decoder"):
        rows = c.size(f"max_{side}_position_embeddings")
        table = embedding("embed_positions", rows, c.size("d_model"))
        yield from part(side, under(f"led.{side}", [table]))


FAMILY = Family(
    model_type="led",
    whole=Whole(
        whole,
        {"pytorch": "LEDForConditionalGeneration", "tf": "TFLEDForConditionalGeneration"},
        limits=whole_limits,
        places={
            "encoder": "max_encoder_position_embeddings",
            "decoder": "max_decoder_position_embeddings",
        },
    ),
    defaults={
        **{key: value for key, value in BART_DEFAULTS.items() if key != "max_position_embeddings"},
        "max_encoder_position_embeddings": 16384,
        "max_decoder_position_embeddings": 1024,
    },
    aliases=BART_ALIASES,
)
