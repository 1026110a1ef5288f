"""What a tensor may be called, and how large it may say that it is, in every format."""

from __future__ import annotations

from typing import TypeGuard

from ckptconv.base.errors import SourceError

MAX_NAME = 512
"""Characters; the longest that transformers makes has about 150."""
MAX_RANK = 32
"""Axes of a tensor: more than numpy or torch print, and few enough to multiply."""
SHOWN = 200


def require_name(name: str, where: str) -> None:
    """Names end up in files, in tables and on terminals: refuse one that is empty, far too long, or does not print.

    What does not print are control characters, changes of direction, zero-width characters and separators but spaces.
    Raises: SourceError: with the name in ASCII.
    """
    if not name:
        raise SourceError(f"{where}: a tensor without a name")
    if len(name) > MAX_NAME:
        raise SourceError(
            f"{where}: the name {name[:40]!a}... of {len(name)} characters is too long"
        )
    if not name.isprintable():
        raise SourceError(
            f"{where}: the name {ascii(name)[:SHOWN]} holds a character that does not print"
        )


def is_size(value: object) -> TypeGuard[int]:
    """Tell whether a value is the length of an axis, or a place in a file: a whole number below 2^63."""
    return type(value) is int and 0 <= value < 1 << 63
