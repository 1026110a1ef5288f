"""Strict, typed access to JSON from elsewhere; every complaint names the place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json

Text = TypeVar("Text", bound=str)


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object. Every method raises SourceError where a field is absent, or is something else."""

    values: Mapping[str, Json]
    where: str
    """How messages name it."""

    def part(self, key: str) -> Fields:
        """Return an object inside this one."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Fields(value, f"{self.where}: {ascii(key)[1:-1][:200]}")

    def text(self, key: str) -> str:
        """Return a string."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def choice(self, key: str, allowed: Collection[Text]) -> Text:
        """Return one of the strings that are allowed."""
        value = self.values.get(key)
        for text in allowed:
            if value == text:
                return text
        raise self._wrong(key, f"one of {', '.join(allowed)}")

    def integer(self, key: str) -> int:
        """Return an integer."""
        value = self.values.get(key)
        if type(value) is not int:
            raise self._wrong(key, "an integer")
        return value

    def list(self, key: str) -> list[Json]:
        """Return a list."""
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        texts = tuple(value for value in self.list(key) if isinstance(value, str))
        if len(texts) != len(self.list(key)):
            raise self._wrong(key, "a list of strings")
        return texts

    def sizes(self, key: str, count: int | None = None) -> tuple[int, ...]:
        """Return a list of integers of at least 0; `count` of them where that is given."""
        sizes = tuple(value for value in self.list(key) if type(value) is int and value >= 0)
        if len(sizes) != len(self.list(key)) or count not in (None, len(sizes)):
            raise self._wrong(key, "a list of sizes")
        return sizes

    def _wrong(self, key: str, expected: str) -> SourceError:
        return SourceError(f"{self.where}: {ascii(key)[:200]} must be {expected}")
