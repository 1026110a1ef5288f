"""M2M100 and NLLB-200: BART with its norms first, and positions of sines that count past padding.

Source: transformers 4.57.6, models/m2m_100. PyTorch alone has a class, which computes its positions. Blenderbot's class
computes the same with these positions in its table, but it counts every token: padding must be on the right.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    SINES,
    Style,
    bart_whole,
    whole_limits,
)
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.family import Family, StandIn, Whole
from ckptconv.schema.formulas import OffsetSinusoids, Zeros
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    buffer,
    computed,
    embedding,
    held_by,
    parameter,
    part,
)

PADDED_RIGHT = (
    "pad on the right: it numbers every token, and the family's own class passes over padding"
)
STARTS_WITH_PADDING = (
    "'decoder_start_token_id' is the padding token, whose place only Blenderbot's class counts"
)


def positions(c: Config) -> Iterator[Module]:
    """The buffer of sines, which is saved by no version; old ones saved a marker of its device. Blenderbot's table."""
    yield buffer("embed_positions.weights", REBUILT)
    first = OffsetSinusoids(c.size("pad_token_id") + 1)
    table = embedding("embed_positions", c.size("max_position_embeddings"), c.size("d_model"))
    yield from computed(held_by(("tf", "flax"), [table]), first, why=SINES)


STYLE = Style(positions, last_norm=True, biased=False, own_words=True)

own = bart_whole(STYLE)


def whole(c: Config) -> Iterator[Module]:
    """`M2M100ForConditionalGeneration`, and the bias of the logits that Blenderbot's class has."""
    yield from own(c)
    bias = held_by(
        ("tf", "flax"), [parameter("final_logits_bias", one=1, out=c.size("vocab_size"))]
    )
    yield from part("head", computed(bias, Zeros(), why="this model has none"))


def limits(c: Config) -> dict[NamingName, str]:
    """What Blenderbot's classes lack."""
    reasons = whole_limits(c)
    start = c.get("decoder_start_token_id")
    if start is not None and start == c.get("pad_token_id"):
        reasons = {"tf": STARTS_WITH_PADDING, "flax": STARTS_WITH_PADDING, **reasons}
    return reasons


BLENDERBOT = StandIn("blenderbot", "Blenderbot", notice=PADDED_RIGHT)

FAMILY = Family(
    model_type="m2m_100",
    whole=Whole(
        whole,
        {
            "pytorch": "M2M100ForConditionalGeneration",
            "tf": "TFBlenderbotForConditionalGeneration",
            "flax": "FlaxBlenderbotForConditionalGeneration",
        },
        limits=limits,
        stand_ins={"tf": BLENDERBOT, "flax": BLENDERBOT},
    ),
    defaults={**BART_DEFAULTS, "vocab_size": 128112, "activation_function": "relu"},
    aliases=BART_ALIASES,
    positions="padding",
)
