"""Marian: BART without a norm over its embeddings, and positions of sines.

Source: transformers 4.57.6, models/marian. The positions are stored by TF alone; PyTorch and Flax compute them. Where
the two sides do not share their embeddings, PyTorch has a table for each and another head, and the classes of TF and
Flax have the one shared table all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import (
    BART_ALIASES,
    BART_DEFAULTS,
    BART_TWINS,
    Style,
    bart_head,
    bart_stack,
    bart_whole,
    computed_sines,
    sine_limits,
    stored_sines,
    whole_names,
)
from ckptconv.schema.family import Decoder, Family, Whole
from ckptconv.schema.tensors import (
    Module,
    NamingName,
    embedding,
    linear,
    parameter,
    part,
    repeats,
    under,
    word_embedding,
)

STYLE = Style(computed_sines)
ALONE = Style(stored_sines)
APART = "'share_encoder_decoder_embeddings' is false, but this class has one table of words for both sides"

together = bart_whole(STYLE)


def target_words(c: Config) -> int:
    """Return the size of the decoder's vocabulary, which is the encoder's unless the config says otherwise."""
    return c.size("decoder_vocab_size" if c.get("decoder_vocab_size") else "vocab_size")


def apart(c: Config) -> Iterator[Module]:
    """`MarianMTModel` with a table of words for each side; the head repeats the decoder's where it is tied."""
    hidden = c.size("d_model")
    for side in (
        "encoder",
        "decoder",
    ):  # `MarianModel` copies the encoder's table for the decoder, with its size
        table = embedding("embed_tokens", c.size("vocab_size"), hidden)
        yield from part(side, under(f"model.{side}", (table, *bart_stack(c, side, STYLE))))
    yield from part("head", [parameter("final_logits_bias", one=1, out=target_words(c))])
    output = linear("lm_head", target_words(c), hidden, bias=False)
    tied = c.flag("tie_word_embeddings", default=True)
    yield replace(repeats(output, "model.decoder.embed_tokens", tied=tied), part="head")


def whole(c: Config) -> Iterator[Module]:
    """`MarianMTModel`."""
    shared = c.flag("share_encoder_decoder_embeddings", default=True)
    return together(c) if shared else apart(c)


def decoder(c: Config) -> Iterator[Module]:
    """The base model of `MarianForCausalLM`, which saves its positions."""
    yield word_embedding("embed_tokens", target_words(c), c.size("d_model"))
    yield from bart_stack(c, "decoder", ALONE)


def other_names(c: Config) -> Iterator[Module]:
    """The table that both sides share, where they share one."""
    shared = c.flag("share_encoder_decoder_embeddings", default=True)
    return whole_names(c) if shared else iter(())


def limits(c: Config) -> dict[NamingName, str]:
    """What TF and Flax lack: tables of words apart, and what Pegasus's classes lack."""
    if not c.flag("share_encoder_decoder_embeddings", default=True):
        return {"tf": APART, "flax": APART}
    return sine_limits(c)


FAMILY = Family(
    model_type="marian",
    base="model.decoder",
    main_layer="model.decoder",
    decoder=Decoder(
        decoder,
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": "MarianForCausalLM"},
        other_names=other_names,
    ),
    whole=Whole(
        whole,
        {
            "pytorch": "MarianMTModel",
            "tf": "TFMarianMTModel",
            "flax": "FlaxMarianMTModel",
        },
        limits=limits,
    ),
    defaults={
        **BART_DEFAULTS,
        "vocab_size": 58101,
        "pad_token_id": 58100,
        "share_encoder_decoder_embeddings": True,
    },
    aliases=BART_ALIASES,
)
