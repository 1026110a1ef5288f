"""`config.json`: strict JSON, and typed access that names the key it complains about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from ckptconv.errors import SourceError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_JSON_BYTES = 64 << 20
"""No config or shard index is anywhere near this size [bytes]."""


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse a key that stands twice: parsers disagree about which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key {twice[0]!r} stands twice")
    return found


def _no_constant(text: str) -> Json:
    raise ValueError(f"{text} is not JSON")


def parse_json(text: str | bytes, where: str) -> dict[str, Json]:
    """Return the JSON object in `text`.

    Raises: SourceError: not UTF-8, not JSON, a key twice, too deep, or not an object.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise SourceError(f"{where}: expected a JSON object, found {type(parsed).__name__}")
    return parsed


def read_json(path: Path) -> dict[str, Json]:
    """Return the JSON object in a file.

    Raises: SourceError: no such file, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise SourceError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MiB")
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_json(text, str(path))


def dump_json(value: Mapping[str, Json]) -> bytes:
    """Return the bytes that transformers would write for a config: sorted, two spaces, newline."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Config:
    """One model's settings, with the family's defaults behind what the file leaves out."""

    values: Mapping[str, Json]
    where: str = "config.json"
    """How messages name it: `config.json` or `config.json: encoder`."""
    defaults: Mapping[str, Json] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Common name -> the family's own, such as GPT-2's hidden_size -> n_embd; both are read."""

    def get(self, key: str) -> Json:
        """Return the value under `key` or its alias, or the family's default, or None."""
        for name in (self.aliases.get(key, key), key):
            if name in self.values:
                return self.values[name]
        return self.defaults.get(self.aliases.get(key, key))

    def size(self, key: str) -> int:
        """Return a count or a size: an integer of at least 0.

        Raises: SourceError: absent, or anything else.
        """
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise SourceError(f"{self.where}: {key!r} must be a whole number, found {_shown(value)}")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        """Return a list of counts or sizes.

        Raises: SourceError: absent, or anything else.
        """
        value = self.get(key)
        if not isinstance(value, list):
            raise SourceError(f"{self.where}: {key!r} must be a list of whole numbers, found {_shown(value)}")
        named = {f"{key}[{n}]": one for n, one in enumerate(value)}
        return tuple(Config(named, self.where).size(name) for name in named)

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of words in lower case, which old configs write as one text with `|` between; () if absent.

        Raises: SourceError: anything else.
        """
        value = self.get(key) or []
        words = value.split("|") if isinstance(value, str) else value
        if not isinstance(words, list):
            raise SourceError(f"{self.where}: {key!r} must be a list of words, found {_shown(value)}")
        return tuple(word.strip().lower() for word in words if isinstance(word, str))

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a switch.

        Raises: SourceError: neither true, false nor absent.
        """
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise SourceError(f"{self.where}: {key!r} must be true or false, found {_shown(value)}")
        return value

    def text(self, key: str) -> str:
        """Return a word such as the model type.

        Raises: SourceError: absent, or not a string.
        """
        value = self.get(key)
        if not isinstance(value, str):
            raise SourceError(f"{self.where}: {key!r} must be a string, found {_shown(value)}")
        return value

    def part(self, key: str) -> Config:
        """Return the config that is nested under `key`.

        Raises: SourceError: absent, or not an object.
        """
        value = self.get(key)
        if not isinstance(value, dict):
            raise SourceError(f"{self.where}: {key!r} must be an object, found {_shown(value)}")
        return Config(value, f"{self.where}: {key}")

    def read_as(self, defaults: Mapping[str, Json], aliases: Mapping[str, str]) -> Config:
        """Return the same config, read with a family's defaults and names."""
        return replace(self, defaults=defaults, aliases=aliases)


def _shown(value: Json) -> str:
    if value is None:
        return "nothing"
    return ascii(value) if not isinstance(value, dict | list) else type(value).__name__
