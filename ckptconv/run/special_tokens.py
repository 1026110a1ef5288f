"""The token ids that generation needs: from the configs, or chosen and said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model

NOT_SETTINGS = ("transformers_version", "_from_model_config")
"""Keys of a generation config that set nothing."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The token ids that generation needs, from the config or chosen here."""

    decoder_start: int
    eos: int
    pad: int
    chosen: tuple[str, ...]
    """What no config names, in words such as `eos_token_id = 28`."""


def special_tokens(model: Model, generation: Mapping[str, Json] | None = None) -> SpecialTokens:
    """Return the ids for generation: from the generation config, the whole's config, the decoder's.

    What none of them names is chosen, and recorded: decoding from token 0, to the last token of the
    vocabulary, padding with the end.
    """
    own, whole, decoder = generation or {}, model.config, model.decoder.config
    vocabulary = decoder.size("vocab_size")
    chosen: list[str] = []

    def find(key: str, *more: Json, otherwise: int) -> int:
        token = first_id(vocabulary, own.get(key), whole.get(key), decoder.get(key), *more)
        if token is None:
            chosen.append(f"{key} = {otherwise}")
        return otherwise if token is None else token

    bos = (own.get("bos_token_id"), whole.get("bos_token_id"), decoder.get("bos_token_id"))
    start = find("decoder_start_token_id", *bos, otherwise=0)
    eos = find("eos_token_id", otherwise=vocabulary - 1)
    pad = find("pad_token_id", otherwise=eos)
    return SpecialTokens(start, eos, pad, tuple(chosen))


def unnamed_tokens(generation: Mapping[str, Json]) -> tuple[str, ...]:
    """Return which tokens a generation config leaves open that `generate` needs in one framework or another.

    Without a start token all fail, without an end or padding Flax's. `bos_token_id` serves as the start token.
    """
    start = (generation.get(key) for key in ("decoder_start_token_id", "bos_token_id"))
    absent = [] if any(token is not None for token in start) else ["decoder_start_token_id"]
    absent += [key for key in ("eos_token_id", "pad_token_id") if generation.get(key) is None]
    return tuple(absent)


def first_id(vocabulary: int, *candidates: Json) -> int | None:
    """Return the first candidate that is a token of the vocabulary; of a list, its first entry."""
    for candidate in candidates:
        token = candidate[0] if isinstance(candidate, list) and candidate else candidate
        if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < vocabulary:
            return token
    return None


def pad_id(config: Config) -> int:
    """Return a side's own padding token; any other id would be a position in RoBERTa."""
    return first_id(config.size("vocab_size"), config.get("pad_token_id")) or 0


def named_ids(config: Config, whole: Config) -> tuple[int, ...]:
    """Return every token that a side's config or the whole's names, and the table's two ends; not the padding."""
    vocabulary, pad = config.size("vocab_size"), pad_id(config)
    named = [
        value
        for source in (config, whole)
        for key, value in sorted({**source.defaults, **source.values}.items())
        if key.endswith("_token_id")
    ]
    ids = [first_id(vocabulary, value) for value in (*named, 0, vocabulary - 1)]
    return tuple(dict.fromkeys(token for token in ids if token is not None and token != pad))
