"""T5's blocks, which mT5, LongT5 and UMT5 have as well.

Source: transformers 4.57.6, models/t5/modeling_t5.py, modeling_tf_t5.py, modeling_flax_t5.py, and the like of mt5,
longt5 and umt5. Norms have a gain alone. The first block of a stack holds the table of distances for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.family import ModuleTable, SideName, Standalone
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    embedding,
    gain,
    linear,
    part,
    repeats,
    shared_embedding,
    under,
    unread,
)

UNREAD_DISTANCES = "a table of distances that old versions saved and no class reads"


def t5_attention(c: Config, *, distances: bool) -> Iterator[Module]:
    """Query, key, value and output, with the table of distances in the first block."""
    hidden, inner, heads = (
        c.size("d_model"),
        c.size("num_heads") * c.size("d_kv"),
        c.size("num_heads"),
    )
    for name in ("q", "k", "v"):
        yield linear(name, inner, hidden, bias=False)
    yield linear("o", hidden, inner, bias=False)
    if distances:
        yield embedding("relative_attention_bias", c.size("relative_attention_num_buckets"), heads)


def feed_forward(c: Config) -> Iterator[Module]:
    """Two layers, or three where the first is a product of two: `gated-gelu`, `gated-silu` ..."""
    hidden, inner = c.size("d_model"), c.size("d_ff")
    gated = c.flag("is_gated_act", default=c.text("feed_forward_proj").startswith("gated-"))
    for name in ("wi_0", "wi_1") if gated else ("wi",):
        yield linear(f"DenseReluDense.{name}", inner, hidden, bias=False)
    yield linear("DenseReluDense.wo", hidden, inner, bias=False)
    yield gain("layer_norm", hidden)


def t5_block(
    c: Config, *, cross: bool, distances: bool, attention: str, beside: Modules = ()
) -> Iterator[Module]:
    """`T5Block`: `layer.0` attends, `layer.1` reads the encoder, the last one feeds forward."""
    hidden = c.size("d_model")
    yield from under(f"layer.0.{attention}", t5_attention(c, distances=distances))
    yield from under(f"layer.0.{attention}", beside)
    yield gain("layer.0.layer_norm", hidden)
    if cross:
        reading = (
            *under("EncDecAttention", t5_attention(c, distances=False)),
            gain("layer_norm", hidden),
        )
        yield from part("cross-attention", under("layer.1", reading))
    yield from under(f"layer.{1 + cross}", feed_forward(c))


def t5_stack(
    c: Config,
    side: str,
    *,
    attention: str = "SelfAttention",
    beside: Modules = (),
    every: bool = False,
) -> Iterator[Module]:
    """One side: its blocks and its last norm.

    Args: attention: how its self-attention is called. beside: what stands beside its tables in the first block, with
    those that are in each. every: True where each block has a table of distances.
    """
    cross = side == "decoder"
    for number in range(layer_count(c, side)):
        first = every or number == 0
        extra = tuple(module for module in beside if first or module.kind != "embedding")
        block = t5_block(c, cross=cross, distances=first, attention=attention, beside=extra)
        yield from under(f"block.{number}", block)
    yield gain("final_layer_norm", c.size("d_model"))


def layer_count(c: Config, side: str) -> int:
    """Return the number of a side's blocks; the decoder has as many as the encoder unless it says otherwise."""
    own = c.get("num_decoder_layers") is not None and side == "decoder"
    return c.size("num_decoder_layers" if own else "num_layers")


def t5_whole(
    c: Config,
    *,
    attention: str = "SelfAttention",
    beside: Modules = (),
    every: bool = False,
    twice: bool = False,
) -> Iterator[Module]:
    """`T5ForConditionalGeneration`; see `t5_stack`.

    Args: twice: whether PyTorch's class looks for the table of words under all of its names where the config ties no
    head; it takes what it finds for the others, and says that they are missing.
    """
    again: tuple[NamingName, ...] = ("pytorch",) if twice and _is_untied(c) else ()
    vocab, hidden = c.size("vocab_size"), c.size("d_model")
    yield from part("encoder", [shared_embedding("shared", vocab, hidden)])
    for side in ("encoder", "decoder"):
        own = {"attention": attention, "beside": beside} if side == "encoder" else {}
        stack = t5_stack(c, side, every=every, **own)  # type: ignore[arg-type]
        words = embedding(f"{side}.embed_tokens", vocab, hidden)
        alias = repeats(words, "shared", tied=True, held_by=("pytorch",), repeated_by=again)
        yield replace(alias, part=side)
        yield from part(side, under(side, stack))
    heads = c.size("num_heads")
    old = embedding(
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias",
        c.size("relative_attention_num_buckets"),
        heads,
    )
    yield from part("decoder", unread([old], UNREAD_DISTANCES))
    output = linear("lm_head", vocab, hidden, bias=False)
    yield replace(repeats(output, "shared", tied=not _is_untied(c)), part="head")


def _is_untied(c: Config) -> bool:
    """Tell whether the head has a table of its own."""
    return not c.flag("tie_word_embeddings", default=True)


NO_PAIR = "AutoModel builds all of {} from its config, and no composite runs that"


def encoder_alone(whole: ModuleTable, name: str) -> Mapping[SideName, Standalone]:
    """Return the encoder with the table that both sides share, as `T5EncoderModel` holds it.

    Args: whole: the table of the class of one piece. name: what the family's classes begin with.
    """

    def modules(c: Config) -> Iterator[Module]:
        yield from (module for module in whole(c) if module.part == "encoder")

    return {
        "encoder": Standalone(
            f"{name}EncoderModel", modules, no_pair=NO_PAIR.format(f"{name}Model")
        )
    }


def t5_limits(c: Config) -> dict[NamingName, str]:
    """What the classes of TF and Flax lack: activation functions."""
    if c.get("dense_act_fn") is not None:
        return activation(c, "dense_act_fn")
    name = c.text("feed_forward_proj")
    function = "gelu_new" if name == "gated-gelu" else name.rpartition("-")[2]
    return activation(
        replace(c, values={**c.values, "feed_forward_proj": function}), "feed_forward_proj"
    )


CLIP: Mapping[NamingName, str] = {
    "flax": "the Flax class needs jax 0.9 or older: it uses a keyword of jnp.clip that jax 0.10 dropped"
}

T5_ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}
