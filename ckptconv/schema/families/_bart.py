"""BART's layers, which a dozen families have with their norms and positions elsewhere.

Source: transformers 4.57.6, models/bart/modeling_bart.py, modeling_tf_bart.py, modeling_flax_bart.py, and the like of
mbart, marian, pegasus, blenderbot, blenderbot-small, plbart, mvp and m2m_100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation, numbered_layers, tied_output
from ckptconv.schema.family import Decoder, StandIn, Twin
from ckptconv.schema.formulas import Sinusoids, Zeros
from ckptconv.schema.tensors import (
    Module,
    Modules,
    NamingName,
    computed,
    embedding,
    held_by,
    linear,
    norm,
    parameter,
    part,
    repeats,
    shared_embedding,
    under,
    word_embedding,
)

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")

BART_TWINS = {f"encoder_attn.{name}": Twin(f"self_attn.{name}") for name in PROJECTIONS} | {
    "encoder_attn_layer_norm": Twin("self_attn_layer_norm")
}
"""A cross-attention has the modules of the self-attention beside it."""

BART_ALIASES = {"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads"}

NEVER_A_HEAD = (
    "'tie_word_embeddings' is false, but this class always reuses the embeddings as its head"
)
NO_BIAS_SAVED = "old versions did not save it, and every class then has zeros"


def learned_positions(offset: int) -> Callable[[Config], Modules]:
    """Return a table of positions with `offset` rows more than positions, which all classes skip."""
    return lambda c: (
        embedding("embed_positions", c.size("max_position_embeddings") + offset, c.size("d_model")),
    )


@dataclass(frozen=True, slots=True)
class Style:
    """What tells one relative of BART from the next."""

    positions: Callable[[Config], Modules]
    first_norm: bool = False
    """A norm over the embeddings: `layernorm_embedding`."""
    last_norm: bool = False
    """A norm after the last layer: `layer_norm`."""
    inside: str = "model"
    """Level of the base model."""
    biased: bool = True
    """True where the logits have a bias that is stored: `final_logits_bias`."""
    own_words: bool = False
    """True where each side of PyTorch's class has a module of its own for the words, not the one that both share: it
    saves one name of three, and untied it draws anew what it does not find under the other two."""


def bart_attention(
    name: str, hidden: int, *, biases: Mapping[str, bool] | None = None
) -> Iterator[Module]:
    """`BartAttention` and its norm. Args: biases: projection -> whether it has one; all have one unless said."""
    lacking = {name for name, has in (biases or {}).items() if not has}
    yield from under(
        name, (linear(path, hidden, hidden, bias=path not in lacking) for path in PROJECTIONS)
    )
    yield norm(f"{name}_layer_norm", hidden)


def bart_layer(
    hidden: int, inner: int, *, cross: bool, biases: Mapping[str, bool] | None = None
) -> Iterator[Module]:
    """`BartDecoderLayer`, and without `cross` `BartEncoderLayer`."""
    yield from bart_attention("self_attn", hidden, biases=biases)
    if cross:
        reading = bart_attention("encoder_attn", hidden, biases=biases)
        yield from part("cross-attention", reading)
    yield linear("fc1", inner, hidden)
    yield linear("fc2", hidden, inner)
    yield norm("final_layer_norm", hidden)


def bart_stack(c: Config, side: str, style: Style, layer: Modules = ()) -> Iterator[Module]:
    """One side without its word embeddings: positions, norms, layers.

    Args: layer: what each layer is made of, where it is not BART's.
    """
    hidden, inner = c.size("d_model"), c.size(f"{side}_ffn_dim")
    yield from style.positions(c)
    once = tuple(layer) or tuple(bart_layer(hidden, inner, cross=side == "decoder"))
    yield from numbered_layers("layers", c.size(f"{side}_layers"), once)
    if style.first_norm:
        yield norm("layernorm_embedding", hidden)
    if style.last_norm:
        yield norm("layer_norm", hidden)


def bart_decoder(style: Style) -> Callable[[Config], Iterator[Module]]:
    """Return the table of the decoder by itself: `BartForCausalLM` without its head."""

    def table(c: Config) -> Iterator[Module]:
        yield word_embedding("embed_tokens", c.size("vocab_size"), c.size("d_model"))
        yield from bart_stack(c, "decoder", style)

    return table


def bart_head(c: Config) -> Modules:
    """The output projection of the decoder by itself, without a bias."""
    return tied_output("lm_head", c, "model.decoder.embed_tokens", bias=None)


def whole_names(c: Config) -> Iterator[Module]:
    """The one table of a whole BART, which its decoder has as well unless the config unties them.

    Source: `_tie_weights` of `BartModel`.
    """
    if c.flag("tie_word_embeddings", default=True):
        yield repeats(_shared_table(c, "model"), "model.decoder.embed_tokens", tied=True)


def _shared_table(c: Config, above: str) -> Module:
    """Return the table that both sides share, which TF keeps outside the model's first level."""
    table = shared_embedding(f"{above}.shared", c.size("vocab_size"), c.size("d_model"))
    return replace(table, paths={**table.paths, "tf": (f"{above}.shared",)})


def shared_words(c: Config, style: Style) -> Iterator[Module]:
    """The table that both sides share, and its other names in PyTorch.

    Untied, PyTorch's class reads all three from a file; see `Style.own_words`.
    """
    vocab, hidden = c.size("vocab_size"), c.size("d_model")
    tied, above = c.flag("tie_word_embeddings", default=True), style.inside
    yield replace(_shared_table(c, above), part="encoder")
    for side in ("encoder", "decoder"):
        words = embedding(f"{above}.{side}.embed_tokens", vocab, hidden)
        again: tuple[NamingName, ...] = () if tied else ("pytorch",)
        alias = repeats(
            words,
            f"{above}.shared",
            tied=True,
            held_by=("pytorch",),
            repeated_by=again,
            drawn_by=again if style.own_words else (),
        )
        yield replace(alias, part=side)


def bart_whole(
    style: Style, layers: Callable[[Config, str], Modules] = lambda _c, _side: ()
) -> Callable[[Config], Iterator[Module]]:
    """Return the table of the class of one piece. Args: layers: what a side's layers are made of, where not BART's."""

    def table(c: Config) -> Iterator[Module]:
        vocab = c.size("vocab_size")
        yield from shared_words(c, style)
        for side in ("encoder", "decoder"):
            stack = bart_stack(c, side, style, layers(c, side))
            yield from part(side, under(f"{style.inside}.{side}", stack))
        if style.biased:
            bias = parameter("final_logits_bias", one=1, out=vocab)
            yield from part("head", computed([bias], Zeros(), why=NO_BIAS_SAVED))
        tied = c.flag("tie_word_embeddings", default=True)
        output = linear("lm_head", vocab, c.size("d_model"), bias=False)
        both: tuple[NamingName, ...] = ("pytorch", "flax")
        head = repeats(output, f"{style.inside}.shared", tied=tied, held_by=both)
        yield replace(head, part="head")

    return table


def bart_limits(c: Config) -> dict[NamingName, str]:
    """The activation functions that TF and Flax lack."""
    return activation(c, "activation_function")


def half_of_whole(style: Style, model_class: str) -> Decoder:
    """Return a decoder that PyTorch's class alone saves, and that may be stored as half of a whole."""
    return Decoder(
        bart_decoder(style),
        bart_head,
        self_attention=BART_TWINS,
        classes={"pytorch": model_class},
        other_names=whole_names,
    )


def whole_limits(c: Config) -> dict[NamingName, str]:
    """What the classes of one piece lack: activation functions, and in TF a head of its own."""
    limits = bart_limits(c)
    if not c.flag("tie_word_embeddings", default=True):
        limits["tf"] = NEVER_A_HEAD
    return limits


BART_DEFAULTS: Mapping[str, Json] = {
    "vocab_size": 50265,
    "d_model": 1024,
    "encoder_layers": 12,
    "encoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_layers": 12,
    "decoder_attention_heads": 16,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "pad_token_id": 1,
}

SINES = "positions of sines, which follow from their number"


def stored_sines(c: Config) -> Iterator[Module]:
    """Positions of sines that PyTorch and TF store and Flax computes: Pegasus's."""
    table = embedding("embed_positions", c.size("max_position_embeddings"), c.size("d_model"))
    return computed(held_by(("pytorch", "tf"), [table]), Sinusoids(), why=SINES)


def computed_sines(c: Config) -> Iterator[Module]:
    """Positions of sines that TF stores, and that PyTorch spells but does not save: Marian's."""
    table = embedding("embed_positions", c.size("max_position_embeddings"), c.size("d_model"))
    both = held_by(("pytorch", "tf"), [table])
    return computed(both, Sinusoids(), why=SINES, by=("pytorch",))


def sine_limits(c: Config) -> dict[NamingName, str]:
    """What the classes with positions of sines lack beside: in TF an odd width."""
    limits = whole_limits(c)
    if c.size("d_model") % 2:
        limits["tf"] = "'d_model' is odd, and this class makes positions for an even one only"
    return limits


AS_BART: Mapping[NamingName, StandIn] = {
    "tf": StandIn("bart", "BART"),
    "flax": StandIn("bart", "BART"),
}
"""Of families of one piece that are BART under another name."""
DECODER_AS_BART: Mapping[NamingName, StandIn] = {"flax": StandIn("bart", "BART")}
BART_DECODER = "FlaxBartForCausalLM"
"""The one class of another framework that has BART's decoder by itself."""
BART_CLASSES: Mapping[NamingName, str] = {
    "tf": "TFBartForConditionalGeneration",
    "flax": "FlaxBartForConditionalGeneration",
}
