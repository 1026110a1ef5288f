"""The inputs that are fed to both models: made from the config alone, the same for every run.

Tiny random models hide faults from tiny inputs: a decoder of one token has nothing to attend to but
itself, so a swapped query and key change nothing at all. Hence many tokens on both sides, several
rows of different lengths, padded on either side, every special token, token types, and one row as
long as the positions reach. All but the long probe have one shape: Flax compiles for each new one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.run.special_tokens import named_ids, pad_id, special_tokens
from ckptconv.schema.model import Model, Part
from ckptconv.schema.vocabulary import NamingName

Array: TypeAlias = NDArray[Any]
Probes: TypeAlias = dict[str, Array]

PYTORCH_ALONE: tuple[NamingName, ...] = ("pytorch",)
ROWS = 3
ENCODER_TOKENS = 41
DECODER_TOKENS = 41
LONG_TOKENS = 512
"""How far the long probe goes, where the positions go as far."""
LONG_LOGITS = 1 << 24
"""How many logits the long probe may give: it is shorter for a decoder with a large vocabulary."""
NEW_TOKENS = 16
"""How many tokens are generated for the comparison, where the positions allow as many."""
IGNORED = -100
"""A label that no loss counts."""

FULL, RIGHT, LEFT, TYPES, LONG = "full", "right", "left", "types", "long"
"""No padding; padding on the right; on the left; token types other than 0; one row up to the limit."""
SIDES = ("", "decoder_")
"""What the names of an encoder's and a decoder's inputs begin with."""


def position_limit(side: Part) -> int | None:
    """Return how many tokens a side can hold at most; None where positions have no table."""
    limit, pad = side.config.get("max_position_embeddings"), side.config.get("pad_token_id")
    if not isinstance(limit, int) or limit <= 0:
        return None
    if side.family.positions == "padding" and isinstance(pad, int) and 0 <= pad < limit - 1:
        return limit - pad - 1
    return limit


def pads_left(side: Part, namings: Collection[NamingName]) -> bool:
    """Tell whether padding on the left means the same to all: Flax's composite class counts positions 0, 1, 2 ..."""
    return "flax" not in namings or side.family.positions == "order"


def token_types(side: Part, namings: Collection[NamingName]) -> tuple[int, ...]:
    """Return how many types each column of a side's token types has; () where there is a single one, or none fit in.

    Flax's composite class takes no token types at all.
    """
    sizes = side.config.get("type_vocab_sizes")
    if not isinstance(sizes, list):
        sizes = [side.config.get("type_vocab_size") or side.family.token_types]
    counts = tuple(size for size in sizes if isinstance(size, int))
    return counts if "flax" not in namings and any(count > 1 for count in counts) else ()


def new_tokens(model: Model) -> int:
    """Return how many tokens to generate after the start token."""
    return max(1, _length(model.decoder, NEW_TOKENS + 1) - 1)


def make_probes(
    model: Model, seed: int = 0, namings: Collection[NamingName] = PYTORCH_ALONE
) -> Probes:
    """Return `PROBE.INPUT` -> int64 of shape (3, length), (1, length) for the long probe.

    Inputs are input_ids, attention_mask, token_type_ids of `types` (with one more axis where a family
    has several), the same three of the decoder, and labels. A padded place always holds the side's
    padding token; a valid one does where the start token is it, and once in `left`.

    Args: namings: of all models that are to answer.
    Raises: SourceError: the config names no vocabulary size.
    """
    rng = np.random.default_rng(seed)
    sides = model.encoder, model.decoder
    short = _length(sides[0], ENCODER_TOKENS), _length(sides[1], DECODER_TOKENS)
    probes: Probes = {}
    for name in (FULL, RIGHT, LEFT):
        masks = [
            _mask(name, length, pads_left(side, namings))
            for side, length in zip(sides, short, strict=True)
        ]
        _add(probes, name, model, rng, masks)
    types = [token_types(side, namings) for side in sides]
    if any(types):
        _add(probes, TYPES, model, rng, [np.ones((ROWS, length), np.int64) for length in short])
        for prefix, counts, length in zip(SIDES, types, short, strict=True):
            if counts:
                probes[f"{TYPES}.{prefix}token_type_ids"] = _types(rng, counts, length)
    long = _long(model)
    if long != short:
        _add(probes, LONG, model, rng, [np.ones((1, length), np.int64) for length in long])
    return probes


def left_out(model: Model, namings: Collection[NamingName]) -> Iterator[str]:
    """Say which inputs are not tried, and why."""
    for name, side in (("encoder", model.encoder), ("decoder", model.decoder)):
        if not pads_left(side, namings):
            yield (
                f"no padding on the left of the {name}, and no padding token among its tokens: Flax's class"
                " numbers positions 0, 1, 2 ... there, PyTorch's does not"
            )
        if token_types(side, ()) and not token_types(side, namings):
            yield f"no token types other than 0 in the {name}: Flax's composite class takes none"
        reach, limit = _reach(model, side), position_limit(side)
        if limit is not None and reach < limit:
            yield f"the {name} has {limit} positions; the longest probe has {reach}"


def _reach(model: Model, side: Part) -> int:
    return _long(model)[0 if side is model.encoder else 1]


def _long(model: Model) -> tuple[int, int]:
    """Return the lengths of the long probe, at least those of the others."""
    words = model.decoder.config.size("vocab_size")
    wanted = max(DECODER_TOKENS, min(LONG_TOKENS, LONG_LOGITS // max(1, words)))
    return _length(model.encoder, LONG_TOKENS), _length(model.decoder, wanted)


def _length(side: Part, wanted: int) -> int:
    limit = position_limit(side)
    return wanted if limit is None else max(1, min(wanted, limit))


def _mask(probe: str, length: int, left: bool) -> Array:
    """Return 1 where a token is valid, shape (3, length); padded rows keep all, six and three tenths of them."""
    tenths = (10, 10, 10) if probe == FULL else (10, 6, 3)
    lengths = np.array([max(1, length * part // 10) for part in tenths])
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return mask[:, ::-1].copy() if probe == LEFT and left else mask


def _add(
    probes: Probes,
    name: str,
    model: Model,
    rng: np.random.Generator,
    masks: list[Array],
) -> None:
    """Draw one probe's tokens, under masks for the encoder and the decoder."""
    start = special_tokens(model).decoder_start
    for prefix, side, mask in zip(SIDES, (model.encoder, model.decoder), masks, strict=True):
        pad = pad_id(side.config)
        tokens = _tokens(rng, model, side, mask.shape)
        if name == LEFT and not mask[-1, 0]:
            tokens[0, mask.shape[1] // 2] = pad
        if prefix:
            tokens[:, 0] = start
            tokens[np.arange(len(mask)), mask.argmax(axis=1)] = start
        probes[f"{name}.{prefix}input_ids"] = np.where(mask == 1, tokens, pad)
        probes[f"{name}.{prefix}attention_mask"] = mask
    probes[f"{name}.labels"] = next_tokens(probes[f"{name}.decoder_input_ids"], masks[1])


def next_tokens(tokens: Array, mask: Array) -> Array:
    """Return labels: each place's next token, and none at the end of a row or at padding; shape as `tokens`."""
    labels = np.full(tokens.shape, IGNORED, np.int64)
    both = (mask[:, :-1] == 1) & (mask[:, 1:] == 1)
    labels[:, :-1][both] = tokens[:, 1:][both]
    return labels


def _tokens(rng: np.random.Generator, model: Model, side: Part, shape: tuple[int, ...]) -> Array:
    """Draw tokens from a side's vocabulary, without its padding token; the first row opens with every special one."""
    vocabulary, pad = side.config.size("vocab_size"), pad_id(side.config)
    if vocabulary < 2:
        return np.zeros(shape, np.int64)
    drawn = rng.integers(0, vocabulary - 1, shape, np.int64)
    tokens = drawn + (drawn >= pad)
    named = named_ids(side.config, model.config)[: max(0, shape[1] - 1)]
    tokens[0, 1 : 1 + len(named)] = named
    return tokens


def _types(rng: np.random.Generator, counts: tuple[int, ...], length: int) -> Array:
    """Draw token types: shape (3, length), or (3, length, columns) where a family has several."""
    columns = [rng.integers(0, count, (ROWS, length), np.int64) for count in counts]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=-1)
