"""The inputs that are fed to both models: made from the config alone, the same for every run.

Tiny random models hide faults from tiny inputs: a decoder of one token has nothing to attend to but
itself, so a swapped query and key change nothing at all. Hence many tokens on both sides, several
rows, and one probe with rows of different lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.composition import Composition
from ckptconv.config import Config, Json

Array: TypeAlias = NDArray[Any]

ROWS = 3
ENCODER_TOKENS = 37
DECODER_TOKENS = 24
NEW_TOKENS = 16
"""How many tokens are generated for the comparison, where the positions allow as many."""

PADDED = "padded"
"""The probe whose rows have different lengths; always the last one."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The token ids that generation needs, from the config or chosen here."""

    decoder_start: int
    eos: int
    pad: int
    chosen: tuple[str, ...]
    """What no config names, in words such as `eos_token_id = 28`."""


def position_limit(config: Config) -> int | None:
    """Return how many tokens a side can hold at most; None where positions have no table.

    RoBERTa-like families count positions from `pad_token_id + 1`, so their tables hold that many
    fewer. Others lose a token or two by the same rule, unless it would leave nothing (GPT-2's pad
    token is often its last one).
    """
    limit, pad = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(limit, int) or limit <= 0:
        return None
    if isinstance(pad, int) and 0 <= pad < limit - 2:
        return limit - pad - 1
    return limit


def _length(config: Config, wanted: int) -> int:
    limit = position_limit(config)
    return wanted if limit is None else max(1, min(wanted, limit))


def _first_id(vocabulary: int, *candidates: Json) -> int | None:
    """Return the first candidate that is a token of the vocabulary; of a list, its first entry."""
    for candidate in candidates:
        one = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(one, int) and not isinstance(one, bool) and 0 <= one < vocabulary:
            return one
    return None


def special_tokens(composition: Composition, generation: Mapping[str, Json] | None = None) -> SpecialTokens:
    """Return the ids for generation: from the generation config, the whole's config, the decoder's.

    What none of them names is chosen, and recorded: decoding from token 0, to the last token of the
    vocabulary, padding with the end.
    """
    own, whole, decoder = generation or {}, composition.config, composition.decoder.config
    vocabulary = decoder.size("vocab_size")
    chosen: list[str] = []

    def find(key: str, *more: Json, otherwise: int) -> int:
        found = _first_id(vocabulary, own.get(key), whole.get(key), decoder.get(key), *more)
        if found is None:
            chosen.append(f"{key} = {otherwise}")
        return otherwise if found is None else found

    bos = (own.get("bos_token_id"), whole.get("bos_token_id"), decoder.get("bos_token_id"))
    start = find("decoder_start_token_id", *bos, otherwise=0)
    eos = find("eos_token_id", otherwise=vocabulary - 1)
    pad = find("pad_token_id", otherwise=eos)
    return SpecialTokens(start, eos, pad, tuple(chosen))


def new_tokens(composition: Composition) -> int:
    """Return how many tokens to generate after the start token."""
    return max(1, _length(composition.decoder.config, NEW_TOKENS + 1) - 1)


def _pad_id(config: Config) -> int:
    """Return a side's own padding token; any other id would be a position in RoBERTa."""
    return _first_id(config.size("vocab_size"), config.get("pad_token_id")) or 0


def _tokens(rng: np.random.Generator, config: Config, length: int) -> Array:
    """Draw tokens from a side's vocabulary, without its padding token: shape (ROWS, length)."""
    vocabulary, pad = config.size("vocab_size"), _pad_id(config)
    if vocabulary < 2:
        return np.zeros((ROWS, length), np.int64)
    drawn = rng.integers(0, vocabulary - 1, (ROWS, length), np.int64)
    return drawn + (drawn >= pad)


def _mask(length: int, padded: bool) -> Array:
    """Return 1 where a token is valid; padded rows keep all, six and three tenths of their tokens."""
    tenths = (10, 6, 3) if padded else (10, 10, 10)
    lengths = np.array([max(1, length * part // 10) for part in tenths])
    return (np.arange(length) < lengths[:, None]).astype(np.int64)


def make_probes(composition: Composition, seed: int = 0) -> dict[str, Array]:
    """Return `PROBE.INPUT` -> int64 of shape (3, length), for the probes `full` and `padded`.

    Inputs are input_ids, attention_mask, decoder_input_ids, decoder_attention_mask. A valid place
    never holds the side's padding token (but the start token may be it), a padded place always does.

    Raises: SourceError: the config names no vocabulary size.
    """
    rng = np.random.default_rng(seed)
    encoder, decoder = composition.encoder.config, composition.decoder.config
    lengths = _length(encoder, ENCODER_TOKENS), _length(decoder, DECODER_TOKENS)
    start = special_tokens(composition).decoder_start
    probes: dict[str, Array] = {}
    for probe in ("full", PADDED):
        for prefix, config, length in zip(("", "decoder_"), (encoder, decoder), lengths, strict=True):
            mask = _mask(length, padded=probe == PADDED)
            tokens = np.where(mask == 1, _tokens(rng, config, length), _pad_id(config))
            if prefix:
                tokens[:, 0] = start
            probes[f"{probe}.{prefix}input_ids"] = tokens
            probes[f"{probe}.{prefix}attention_mask"] = mask
    return probes
