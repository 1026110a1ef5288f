"""MVP: BART that may have prompts in front of each layer's keys, which PyTorch alone has.

Source: transformers 4.57.6, models/mvp.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    Style,
    bart_whole,
    half_of_whole,
    learned_positions,
)
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module, Modules, embedding, linear, part, under

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


FAMILY = Family(
    model_type="mvp",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=half_of_whole(STYLE, "MvpForCausalLM"),
    whole=Whole(whole, {"pytorch": "MvpForConditionalGeneration"}),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 50267,
        "use_prompt": False,
        "prompt_length": 100,
        "prompt_mid_dim": 800,
    },
    aliases=BART_ALIASES,
)
