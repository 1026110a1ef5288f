"""What a page is made of: pure data, which `page.py` renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

Tone: TypeAlias = Literal["good", "bad", "calm"]
Cell: TypeAlias = str | int | float | bool | Sequence[int] | None
Mark: TypeAlias = Literal["same", "tie", "wrong", "after"]
"""Of a step; after: behind the first difference, where nothing is compared."""
Figure: TypeAlias = Mapping[str, Any]
"""What plotly.js draws: `data` and `layout`."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with values."""

    template: ClassVar = "facts.html"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Tiles:
    """A few large figures, each with what it is."""

    template: ClassVar = "tiles.html"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Notes:
    """Sentences, each with a word before it that says what kind it is."""

    template: ClassVar = "notes.html"
    items: Sequence[tuple[Tone, str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is short enough to be read whole."""

    template: ClassVar = "table.html"
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    """Columns that are aligned to the right."""
    prose: bool = False
    """Cells are sentences of ours: what stands between back-ticks is shown as code."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a grid."""

    title: str
    kind: Literal["name", "text", "count", "figure", "bytes", "verdict", "histogram", "report"] = (
        "text"
    )
    """figure: three digits. histogram: counts, drawn small. report: lines of a terminal, for a row that is opened."""
    visible: Literal["always", "wide", "opened"] = "always"
    """wide: not on a phone. opened: only below a row that was opened."""
    choose: bool = False
    """Offer its values as a filter."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A long table, to be sorted, searched, and opened row by row."""

    template: ClassVar = "grid.html"
    label: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sort: str = ""
    """The column that it is sorted by at first, the largest on top; empty: as given."""


@dataclass(frozen=True, slots=True)
class Plots:
    """A plot, or some of which one is visible."""

    template: ClassVar = "plots.html"
    label: str
    """What the plot shows, for those who cannot see it, and for choosing."""
    choices: Sequence[tuple[str, Figure]]
    caption: str = ""
    chosen: int = 0


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """What two sides said at one step."""

    first: str
    second: str
    mark: Mark
    title: str = ""
    """What is said of it when someone points at it."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Sequences of two sides, step by step, the first over the second."""

    template: ClassVar = "aligned.html"
    sides: tuple[str, str]
    rows: Sequence[tuple[str, Sequence[AlignedPair]]]
    """Title of each row, and its steps."""


PageBlock: TypeAlias = Facts | Tiles | Notes | Table | Grid | Plots | Aligned


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[PageBlock]
    lead: str = ""
    """One or two sentences on how to read it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    command: str
    title: str
    verdict: str
    """One or two words."""
    tone: Tone
    summary: str
    """One sentence."""
    sections: Sequence[Section]
