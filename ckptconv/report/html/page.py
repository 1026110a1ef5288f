"""A page as one file: its blocks, its data, the style, the scripts and plotly.js, each once.

Strangers' text is made visible first (no control characters, nothing that turns the direction of reading), then
escaped by jinja2, or handed over as JSON in which no `<` is left and shown by scripts as text, never as markup.
A policy in the page lets only its own scripts run, by their hash, and forbids every request.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any
from zlib import compress

from ckptconv.base.environment import install_advice
from ckptconv.base.errors import FrameworkError, printable
from ckptconv.report.html.blocks import Grid, Page, PageBlock, Plots
from ckptconv.transfer.publish.stage import write_file
from ckptconv.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
FIRST, LAST = ("theme.js", "links.js", "grids.js"), ("plots.js",)
"""Scripts that run before those that draw: tables are there at once."""
LIBRARIES = ("jinja2", "plotly")


def require_libraries() -> None:
    """Import what draws pages, so that a long run does not end without its report.

    Raises: FrameworkError: one of the two is not here.
    """
    for name in LIBRARIES:
        try:
            import_module(name)
        except ImportError:
            raise FrameworkError(
                f"--html needs {name}, which is not installed here.\n{install_advice('html')}"
            ) from None


def write_page(path: Path, page: Page) -> None:
    """Write a page, in the place of what has its name.

    Raises: FrameworkError: a library is missing. DestinationError: it cannot be written.
    """
    write_file(path, page_html(page))


def page_html(page: Page) -> str:
    """Return a page as HTML; the same page gives the same text.

    Raises: FrameworkError: a library is missing.
    """
    require_libraries()
    jinja2 = import_module("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"),
        "ensure_ascii": True,
        "allow_nan": False,
    }
    scripts = [*map(_text, FIRST), *map(_text, LAST)]
    draws = _draws(page)
    text: str = environment.get_template("page.html").render(
        page=page,
        anchors=_anchors(page),
        version=__version__,
        data_of=_data_of,
        style=_text("page.css"),
        scripts=scripts,
        packed=_packed() if draws else "",
        hashes=[_hash(script) for script in [*scripts, *([_plotly()] if draws else [])]],
    )
    return text


def _anchors(page: Page) -> list[str]:
    """Return the address of each section within the page: its title in small letters, numbered where it repeats."""
    anchors: list[str] = []
    for section in page.sections:
        anchor = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        repeats = sum(re.fullmatch(rf"{anchor}(-\d+)?", earlier) is not None for earlier in anchors)
        anchors.append(f"{anchor}-{repeats + 1}" if repeats else anchor)
    return anchors


def _code(text: str) -> Any:
    """Return a sentence as markup: what stands between back-ticks is code."""
    markupsafe = import_module("markupsafe")
    escaped = str(markupsafe.escape(printable(text)))
    return markupsafe.Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escaped))


def _draws(page: Page) -> bool:
    """Tell whether a page needs plotly.js: for a plot, or for the histogram of a row that is opened."""
    blocks = [block for section in page.sections for block in section.blocks]
    grids = [block for block in blocks if isinstance(block, Grid)]
    return any(isinstance(block, Plots) for block in blocks) or any(
        column.kind == "histogram" for grid in grids for column in grid.columns
    )


def _data_of(block: PageBlock) -> Any:
    """Return what a block's script needs, ready for JSON."""
    if isinstance(block, Grid):
        columns = [
            {
                "title": column.title,
                "kind": column.kind,
                "shown": column.visible,
                "choose": column.choose,
            }
            for column in block.columns
        ]
        return _visible({"columns": columns, "rows": block.rows, "sort": block.sort})
    assert isinstance(block, Plots)
    return _visible([figure for _, figure in block.choices])


def _visible(value: Any) -> Any:
    """Return data with every string made visible; numbers that JSON does not have become their names."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if value != value else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: _visible(item) for key, item in value.items()}
    return [_visible(item) for item in value] if isinstance(value, Sequence) else value


def _text(name: str) -> Any:
    """Return one of our own files as markup."""
    return import_module("markupsafe").Markup((TEMPLATES / name).read_text(encoding="utf-8"))


@cache
def _plotly() -> str:
    """Return plotly.js."""
    script: str = import_module("plotly.offline").get_plotlyjs()
    return script


@cache
def _packed() -> str:
    """Return plotly.js as zlib packs it, in base64: 1.9 MB in the place of 4.8 MB; `plots.js` unpacks it."""
    return b64encode(compress(_plotly().encode(), 9)).decode()


@cache
def _hash(script: str) -> str:
    """Return what a Content-Security-Policy calls a script."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
