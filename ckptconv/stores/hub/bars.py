"""Whether downloads show themselves; apart from the rest, since every command line sets it and few download."""

from __future__ import annotations


class Bars:
    """Whether downloads draw progress bars; a library is silent unless its caller wants otherwise."""

    shown = False


def show_downloads(shown: bool) -> None:
    """Choose whether downloads draw progress bars on stderr."""
    Bars.shown = shown
