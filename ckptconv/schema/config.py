"""`config.json`: typed access that names the key it complains about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, kind_in_words

DECODING = ("is_decoder", "add_cross_attention")
"""Settings that make a decoder of a model that could be either, and without which a decoder reads no encoder."""


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
            raise SourceError(f"{self.where}: {key!r} must be an integer, found {_found(value)}")
        return value

    def number(self, key: str) -> float:
        """Return a number.

        Raises: SourceError: absent, or anything else.
        """
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SourceError(f"{self.where}: {key!r} must be a number, found {_found(value)}")
        return float(value)

    def sizes(self, key: str) -> tuple[int, ...]:
        """Return a list of counts or sizes.

        Raises: SourceError: absent, or anything else.
        """
        value = self.get(key)
        if not isinstance(value, list):
            raise SourceError(
                f"{self.where}: {key!r} must be a list of integers, found {_found(value)}"
            )
        named = {f"{key}[{n}]": item for n, item in enumerate(value)}
        return tuple(Config(named, self.where).size(name) for name in named)

    def extent(self, key: str) -> tuple[int, int]:
        """Return height and width of an image or a patch: one number for both, or two.

        Raises: SourceError: neither, or a side of 0.
        """
        if not isinstance(self.get(key), list):
            return self.size(key), self.size(key)
        high, wide, *more = (*self.sizes(key), 0, 0)
        if any(more[:-2]) or not high or not wide:
            raise SourceError(f"{self.where}: {key!r} must be one integer or two")
        return high, wide

    def words(self, key: str) -> tuple[str, ...]:
        """Return a list of words in lower case, which old configs write as one text with `|` between; () if absent.

        Raises: SourceError: anything else.
        """
        value = self.get(key) or []
        words = value.split("|") if isinstance(value, str) else value
        if not isinstance(words, list):
            raise SourceError(
                f"{self.where}: {key!r} must be a list of strings, found {_found(value)}"
            )
        return tuple(word.strip().lower() for word in words if isinstance(word, str))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, as they are written; () if absent.

        Raises: SourceError: anything else.
        """
        value = self.get(key) or []
        if not isinstance(value, list):
            raise SourceError(
                f"{self.where}: {key!r} must be a list of strings, found {_found(value)}"
            )
        named = {f"{key}[{n}]": text for n, text in enumerate(value)}
        return tuple(Config(named, self.where).text(name) for name in named)

    @property
    def decoding(self) -> tuple[str, ...]:
        """Which of the settings that make a decoder of a model are true."""
        return tuple(key for key in DECODING if self.get(key) is True)

    def stated(self, key: str) -> str:
        """Return a text; empty where there is none, whatever lies in its place."""
        value = self.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a switch.

        Raises: SourceError: neither true, false nor absent.
        """
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise SourceError(f"{self.where}: {key!r} must be a boolean, found {_found(value)}")
        return value

    def text(self, key: str) -> str:
        """Return a word such as the model type.

        Raises: SourceError: absent, or not a string.
        """
        value = self.get(key)
        if not isinstance(value, str):
            raise SourceError(f"{self.where}: {key!r} must be a string, found {_found(value)}")
        return value

    def part(self, key: str) -> Config:
        """Return the config that is nested under `key`.

        Raises: SourceError: absent, or not an object.
        """
        value = self.get(key)
        if not isinstance(value, dict):
            raise SourceError(f"{self.where}: {key!r} must be an object, found {_found(value)}")
        return Config(value, f"{self.where}: {key}")

    def read_as(self, defaults: Mapping[str, Json], aliases: Mapping[str, str]) -> Config:
        """Return the same config, read with a family's defaults and names."""
        return replace(self, defaults=defaults, aliases=aliases)


def _found(value: Json) -> str:
    return "nothing" if value is None else kind_in_words(value)
