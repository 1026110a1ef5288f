"""Tokens as words: what the tokenizer beside a checkpoint calls each id, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ckptconv.base.errors import CkptconvError
from ckptconv.base.strict_json import Json, read_json

FILE = "tokenizer.json"
MAX_CHARACTERS = 16
NOTHING = "\N{EMPTY SET}"
"""Where a side has ended."""
SPACES = " \N{LATIN CAPITAL LETTER G WITH DOT ABOVE}\N{LOWER ONE EIGHTH BLOCK}\n"
"""How GPT-2's and SentencePiece's vocabularies write a space, and spaces."""


def token_words(*folders: Path) -> Mapping[int, str]:
    """Return id -> word, of the first folder that has a tokenizer which can be read; nothing where none has."""
    for folder in folders:
        with suppress(CkptconvError, OSError):
            if words := _words(read_json(folder / FILE)):
                return words
    return {}


def _words(tokenizer: Mapping[str, Json]) -> dict[int, str]:
    """Return the vocabulary: a table of BPE and WordPiece, a list of Unigram; and the added tokens."""
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    words: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        words = {index: word for word, index in vocabulary.items() if isinstance(index, int)}
    elif isinstance(vocabulary, list):
        pairs = (entry[0] for entry in vocabulary if isinstance(entry, list) and entry)
        words = {index: str(word) for index, word in enumerate(pairs)}
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            words[int(str(token["id"]))] = str(token.get("content", ""))
    return words


def shown(token: int | None, words: Mapping[int, str]) -> str:
    """Return a token for people: its word without the space before it; its number, where it has no word."""
    if token is None:
        return NOTHING
    name = words.get(token, "")
    word = name.strip(SPACES) or ("\N{OPEN BOX}" if name else str(token))
    return (
        word
        if len(word) <= MAX_CHARACTERS
        else f"{word[: MAX_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
