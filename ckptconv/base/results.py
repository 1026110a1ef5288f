"""What every verb returns: a result that prints as the command line prints it, shows itself in a notebook, and is data.

How a result is shown is known by `ckptconv.report` alone, high above. It is asked for by its name and only when a
result is shown, so that no verb imports it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


class Result:
    """A result of a verb."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the text that the command line prints."""
        return str(_report().text(self))

    def __repr__(self) -> str:
        """Return what it is and how it ended, in one line."""
        return f"<{type(self).__name__} {_report().summary(self)}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return str(_report().notebook(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        document: dict[str, Any] = _report().document(self)
        return document


class PagedResult(Result):
    """A result that can be written as a page."""

    __slots__ = ()

    def save_html(self, path: Path | str) -> None:
        """Write the page that `--html` writes.

        Args:
            path: file to write; replaces a file of this name.

        Raises: FrameworkError: the extra `html` is not installed. DestinationError: it cannot be written.
        """
        _report().save_page(self, Path(path))


def _report() -> Any:
    return import_module("ckptconv.report.results")
