"""How an answer to a text ended: by itself, or by the limit that its class has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ckptconv.base.strict_json import Json

DEFAULT_LENGTH = 20
"""Tokens of an answer where no config names a limit: TF counts the start token, PyTorch and Flax do not."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The tokens of one answer, and how it ended."""

    tokens: tuple[str, ...]
    """As the tokenizer's vocabulary spells them, up to the end, without special tokens."""
    cut: bool
    """True where the limit ended it; False where it ended by itself, or where the class does not show how."""


def ending(
    row: Sequence[int],
    generation: Mapping[str, Json],
    spelled: Callable[[Sequence[int]], Sequence[str]],
) -> Ending:
    """Return how an answer ended.

    A class that leaves out the start token, as PyTorch's Whisper, leaves out the end too: how it ended is unknown.

    Args: row: the tokens, as the class returns them. generation: the settings, with start and end.
    spelled: spells those of some tokens that are not special.
    """
    content = without_start(row, generation)
    ends = setting_ids(generation.get("eos_token_id"))
    stop = next((place for place, token in enumerate(content) if token in ends), None)
    forced = generation.get("forced_eos_token_id") is not None
    at_limit = stop is None or (forced and stop + 2 >= _limit(generation))
    return Ending(tuple(spelled(content[:stop])), len(content) < len(row) and at_limit)


def without_start(row: Sequence[int], generation: Mapping[str, Json]) -> Sequence[int]:
    """Return an answer without its start token, which some classes leave out and no tokenizer need know as special."""
    return row[1:] if len(row) and row[0] == _start(generation) else row


def _start(generation: Mapping[str, Json]) -> Json:
    start = generation.get("decoder_start_token_id")
    return generation.get("bos_token_id") if start is None else start


def setting_ids(value: Json) -> tuple[int, ...]:
    """Return the ids that a setting names, one or several: whole numbers; PyTorch reads 2.0 as 2."""
    ids = value if isinstance(value, list | tuple) else [value]
    numbers = [
        token for token in ids if isinstance(token, int | float) and not isinstance(token, bool)
    ]
    return tuple(int(token) for token in numbers if float(token).is_integer())


def _limit(generation: Mapping[str, Json]) -> int:
    """Return the least length, with the start token, at which a class may force the end."""
    new, whole = generation.get("max_new_tokens"), generation.get("max_length")
    if isinstance(new, int):
        return new + 1
    return whole if isinstance(whole, int) else DEFAULT_LENGTH
