"""`config.json`: strict JSON, and typed access that names the key it complains about."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import TypeAlias

from ckptconv.errors import SourceError
from ckptconv.guards.files import read_source
from ckptconv.guards.limits import limits, more

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DIGITS = 64
"""Of a number in JSON; tokenizers write 31 for "no limit". Python takes seconds for a number of millions."""
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse a key that stands twice: parsers disagree about which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"key {ascii(twice)[:200]} stands twice")
    return found


def _no_constant(text: str) -> Json:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> Json:
    """Return a whole number; `-0` is none, as in other parsers."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return -0.0 if text == "-0" else int(text)


def _float(text: str) -> Json:
    """Return a number with a fraction or exponent; one that is too large would be written as Infinity."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _depth_within(data: bytes, depth: int) -> bool:
    """Tell whether objects and lists lie at most `depth` deep, before a parser goes down into them.

    Without strings and all else but brackets, each round takes off the innermost pairs.
    """
    if data.count(b"[") + data.count(b"{") <= depth:
        return True
    rest = _STRINGS.sub(b"", data).translate(_BRACKETS, delete=_OTHERS)
    for _ in range(depth):
        rest = rest.replace(b"[]", b"")
    return b"[]" not in rest and rest.count(b"[") <= depth


def parse_json(text: str | bytes, where: str) -> dict[str, Json]:
    """Return the JSON object in `text`.

    Raises: SourceError: not UTF-8, not JSON, a key twice, half a surrogate pair, too deep, or not an object.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
        if not _depth_within(data, limits().json_depth):
            raise ValueError(f"deeper than {limits().json_depth} levels; {more('json_depth')}")
        parsed = json.loads(data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant,
                            parse_int=_integer, parse_float=_float)  # fmt: skip
        if b"\\u" in data:
            json.dumps(parsed, ensure_ascii=False).encode()  # half a surrogate pair cannot be written
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: not valid JSON ({_reason(error)})") from None
    if not isinstance(parsed, dict):
        raise SourceError(f"{where}: expected a JSON object, found {type(parsed).__name__}")
    return parsed


def _reason(error: Exception) -> str:
    """Say in ASCII what a parser objects to; Python's text on encodings repeats the bytes."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return (
        "half a surrogate pair"
        if isinstance(error, UnicodeEncodeError)
        else str(error).encode("ascii", "backslashreplace").decode()
    )


def read_json(path: Path) -> dict[str, Json]:
    """Return the JSON object in a file.

    Raises: SourceError: no such file, too large, or not a JSON object.
    """
    most = limits().json_bytes
    data = read_source(path, most + 1)
    if len(data) > most:
        raise SourceError(f"{path}: more than {most} bytes of JSON; {more('json_bytes')}")
    return parse_json(data, str(path))


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
