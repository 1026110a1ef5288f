"""Whether downloads show themselves; apart from the rest, since every command line says so and few download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SHOWN = ContextVar("download bars", default=False)
"""A library is silent unless its caller wants otherwise."""


def shows_downloads() -> bool:
    """Tell whether downloads draw progress bars here."""
    return _SHOWN.get()


@contextmanager
def showing_downloads(shown: bool) -> Iterator[None]:
    """Choose whether downloads within the block draw progress bars on stderr."""
    token = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(token)
