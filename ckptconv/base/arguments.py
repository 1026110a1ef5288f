"""Arguments of the functions in Python, checked as strictly as the command line checks its options."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ckptconv.base.errors import UsageError


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse what is none of the choices: a misspelt word has no other meaning. Raises UsageError."""
    names = tuple(choices)
    if not isinstance(value, str) or value not in names:
        raise UsageError(f"{name}: {_shown(value)} is not one of {', '.join(map(repr, names))}")


def require_texts(name: str, value: object) -> None:
    """Refuse one string where several are expected: it would be taken letter by letter. Raises UsageError."""
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"{name}: {_shown(value)} is not a list of strings")


def require_integer(name: str, value: object, least: int = 0) -> None:
    """Refuse what is no integer of at least `least`. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name}: {_shown(value)} is not an integer")
    if value < least:
        raise UsageError(f"{name}: {value} is not at least {least}")


def require_number(name: str, value: object, least: float = 0.0, most: float = math.inf) -> None:
    """Refuse what is no finite number from `least` to `most`. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{name}: {_shown(value)} is not a number")
    if not least <= value <= most:
        limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise UsageError(f"{name}: {value:g} is not {limits}")


def _shown(value: object) -> str:
    return ascii(value)[:80]
