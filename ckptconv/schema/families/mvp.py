"""MVP: BART that may have prompts in front of each layer's keys, which PyTorch alone has.

Source: transformers 4.57.6, models/mvp.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    AS_BART,
    BART_ALIASES,
    BART_CLASSES,
    BART_DECODER,
    BART_DEFAULTS,
    BART_TWINS,
    DECODER_AS_BART,
    Style,
    bart_decoder,
    bart_head,
    bart_whole,
    learned_positions,
    whole_limits,
    whole_names,
)
from ckptconv.schema.family import Decoder, Family, Whole
from ckptconv.schema.tensors import Module, Modules, NamingName, embedding, linear, part, under

STYLE = Style(learned_positions(2), first_norm=True)

plain = bart_whole(STYLE)


def prompt(c: Config, path: str, layers: int) -> Modules:
    """`MvpPrompt`: rows that two layers turn into a key and a value for each layer of the stack."""
    hidden, inner = c.size("d_model"), c.size("prompt_mid_dim")
    modules = (
        embedding("prompt_embedding", c.size("prompt_length"), hidden),
        linear("prompt_trans.0", inner, hidden),
        linear("prompt_trans.2", 2 * layers * hidden, inner),
    )
    return under(path, modules)


def prompts(c: Config, side: str) -> Iterator[Module]:
    """The prompts of one side, if there are any."""
    if c.flag("use_prompt"):
        count = c.size(f"{side}_layers")
        yield from prompt(c, "self_attn_prompt", count)
        if side == "decoder":
            yield from prompt(c, "cross_attn_prompt", count)


def whole(c: Config) -> Iterator[Module]:
    """`MvpForConditionalGeneration`."""
    yield from plain(c)
    for side in ("encoder", "decoder"):
        yield from part(side, under(f"model.{side}", prompts(c, side)))


def limits(c: Config) -> dict[NamingName, str]:
    """What BART's classes lack: prompts beside."""
    reasons = whole_limits(c)
    if c.flag("use_prompt"):
        why = "'use_prompt' is true, and BART's class has no prompts"
        reasons = {"tf": why, "flax": why, **reasons}
    return reasons


FAMILY = Family(
    model_type="mvp",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        bart_decoder(STYLE),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "MvpForCausalLM", "flax": BART_DECODER},
        limits=limits,
        stand_ins=DECODER_AS_BART,
        other_names=whole_names,
    ),
    whole=Whole(
        whole,
        {"pytorch": "MvpForConditionalGeneration", **BART_CLASSES},
        limits=limits,
        stand_ins=AS_BART,
    ),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 50267,
        "use_prompt": False,
        "prompt_length": 100,
        "prompt_mid_dim": 800,
    },
    aliases=BART_ALIASES,
)
