"""Arguments that are one of a few words: a wrong one is a ValueError that lists them, never another meaning."""

from __future__ import annotations

from collections.abc import Sequence


def require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices.

    Raises: ValueError: with the name of the argument, what was given, and the choices.
    """
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name}: {value!r} is not one of {listed}")
