"""What `inspect` found, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptconv.compare.statistics import SAMPLE, Statistics
from ckptconv.report.html.blocks import (
    Cell,
    Column,
    Facts,
    Figure,
    Grid,
    Notes,
    Page,
    PageBlock,
    Plots,
    Section,
    Table,
    Tiles,
    Tone,
)
from ckptconv.report.html.figures import colour, figure, label, powers
from ckptconv.report.html.treemap import treemap
from ckptconv.report.inspect import PART_HEADERS, answer, facts, model_name, notes, part_rows
from ckptconv.report.text import size
from ckptconv.verbs.inspect import Inspection, TensorLine

COLUMNS = (
    Column("tensor", "name"),
    Column("part", visible="wide", choose=True),
    Column("layer", "count", visible="opened"),
    Column("dtype", visible="wide", choose=True),
    Column("shape", visible="wide"),
    Column("parameters", "count"),
    Column("bytes", "bytes", visible="opened"),
    Column("file", visible="opened"),
)
SHOWN_ELSEWHERE = ("parameters", "size")
"""Facts that stand in the tiles."""
FIGURES = (
    Column("min", "figure", visible="opened"),
    Column("max", "figure", visible="opened"),
    Column("mean", "figure", visible="wide"),
    Column("std", "figure", visible="wide"),
    Column("kurtosis", "figure", visible="opened"),
    Column("zeros", "count", visible="opened"),
    Column("NaN", "count", visible="opened"),
    Column("infinite", "count", visible="opened"),
    Column("values", "histogram"),
    Column("signs", visible="wide", choose=True),
)


def inspection_page(result: Inspection) -> Page:
    """Return an inspection as a page."""
    word, tone, summary = _verdict(result)
    subject = f"{result.path}: {model_name(result)}".replace("->", "\N{RIGHTWARDS ARROW}")
    return Page("inspect", subject, word, tone, summary, tuple(_sections(result)))


def _verdict(result: Inspection) -> tuple[str, Tone, str]:
    if result.refusal:
        return "Unknown", "calm", f"No table applies: {result.refusal}"
    if result.problems:
        count = len(result.problems)
        return (
            "Incomplete",
            "bad",
            f"{count} problem{'s' if count > 1 else ''} with its tensors; see State.",
        )
    if any(finding.sign == "not finite" for finding in result.findings):
        return (
            "Not finite",
            "bad",
            "Every tensor that the config asks for is there, but some values are not numbers.",
        )
    return "Complete", "good", "Every tensor is one that the config asks for, and none is missing."


def _sections(result: Inspection) -> Iterator[Section]:
    name = ("model", model_name(result))
    overview = [fact for fact in facts(result) if fact != name and fact[0] not in SHOWN_ELSEWHERE]
    yield Section("Summary", (_tiles(result), Facts(overview), *_notes(result)))
    if result.targets:
        rows = [
            (
                target.verb,
                "yes" if target.converts else "no",
                answer(target).partition(" ")[2].lstrip("; "),
            )
            for target in result.targets
        ]
        rows = [(verb, reasons.rstrip(":"), why) for verb, reasons, why in rows]
        yield Section("Commands", (Table(("command", "accepts it", "notes"), rows, prose=True),))
    if result.problems or result.refusal:
        reasons: list[tuple[Tone, str, str]] = (
            [("bad", "refused", result.refusal)] if result.refusal else []
        )
        reasons += [
            (
                "bad",
                problem.kind,
                f"{problem.name}: {problem.detail}" if problem.detail else problem.name,
            )
            for problem in result.problems
        ]
        yield Section("State", (Notes(reasons),))
    parts = Table(PART_HEADERS, part_rows(result), frozenset(range(1, 5)))
    tree = Plots("parameters by side, layer and tensor", [("", treemap(result))])
    yield Section("Parameters", (tree, parts), "Area: number of parameters. Click to open a layer.")
    if result.measured:
        spread = Plots(
            "standard deviation of each tensor, by layer",
            [("", _spread(result))],
            "Tensors with a single value, such as new gains and biases, have no point.",
        )
        yield Section(
            "Values",
            (spread,),
            "Standard deviation of each tensor. Weights that were never trained lie on a horizontal line, "
            "at the standard deviation of their initialisation.",
        )
    sampled = f" Bars count a sample of at most {SAMPLE:,} elements." if result.measured else ""
    yield Section("Tensors", (_grid(result),), f"Click a row for details.{sampled}")


def _tiles(result: Inspection) -> PageBlock:
    layers = "+".join(str(side.layers) for side in result.sides if side.layers is not None)
    tiles = [
        (_millions(result.parameters), "parameters"),
        (f"{len(result.tensors):,}", "tensors"),
        (size(result.file_bytes), "on disk"),
        (", ".join(result.dtypes), "values"),
    ]
    return Tiles([*tiles, *([(layers, "layers")] if layers else [])])


def _millions(count: int) -> str:
    """Return a large number as it is spoken of."""
    for least, unit in ((10**9, "billion"), (10**6, "million")):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count:,}"


def _notes(result: Inspection) -> Iterator[PageBlock]:
    sentences: list[tuple[Tone, str, str]] = []
    for line in notes(result):
        word, colon, text = line.partition(": ")
        bad = word in ("not finite", "new", "duplicated", "constant", "code") or "BROKEN" in line
        sentences.append(("bad" if bad else "calm", word, text) if colon else ("calm", "", line))
    if sentences:
        yield Notes(sentences)


def _spread(result: Inspection) -> Figure:
    """Return the standard deviation of every tensor along the layers, a colour and a column for each part."""
    numbers = sorted({line.layer for line in result.tensors if line.layer is not None})
    places: dict[int | None, int] = {
        None: 0,
        **{number: place for place, number in enumerate(numbers, 1)},
    }
    parts, traces = [part.name for part in result.parts], []
    for column, part in enumerate(parts):
        members = [
            (line, statistics)
            for line in result.tensors
            if (line.part or "unknown") == part
            and (statistics := line.statistics)
            and statistics.std > 0
        ]
        aside = (column - (len(parts) - 1) / 2) * 0.15
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": part,
                "x": [places[line.layer] + aside for line, _ in members],
                "y": [_short(statistics.std) for _, statistics in members],
                "text": [label(line.spec.name) for line, _ in members],
                "hovertemplate": "%{text}<br>spread %{y:.3g}<extra></extra>",
                "marker": {
                    "color": ["var(--bad)" if line.signs else colour(part) for line, _ in members],
                    "symbol": ["x" if line.signs else "circle" for line, _ in members],
                    "size": 7,
                    "opacity": 0.7,
                    "line": {"width": 0},
                },
            }
        )
    names = ["outside", *(f"layer {number}" for number in numbers)]
    axis = {
        "tickmode": "array",
        "tickvals": list(places.values()),
        "ticktext": names,
        "title": {"text": "layer", "standoff": 12},
        "showgrid": False,
    }
    spreads = [
        line.statistics.std
        for line in result.tensors
        if line.statistics and line.statistics.std > 0
    ]
    spread = {**powers(spreads), "title": {"text": "standard deviation"}}
    return figure(traces, height=380, x=axis, y=spread)


def _grid(result: Inspection) -> Grid:
    columns = (*COLUMNS, *FIGURES) if result.measured else COLUMNS
    return Grid("tensors", columns, [_row(line) for line in result.tensors])


def _row(line: TensorLine) -> Sequence[Cell]:
    spec = line.spec
    shape = " x ".join(map(str, spec.shape)) or "scalar"
    cells = (
        spec.name,
        line.part or "unknown",
        line.layer,
        spec.dtype,
        shape,
        spec.numel,
        spec.nbytes,
        line.file,
    )
    return (*cells, *_figures(line.statistics), ", ".join(line.signs)) if line.statistics else cells


def _figures(statistics: Statistics) -> Sequence[Cell]:
    figures = (
        statistics.minimum,
        statistics.maximum,
        statistics.mean,
        statistics.std,
        statistics.kurtosis,
    )
    return (
        *map(_short, figures),
        statistics.zeros,
        statistics.nans,
        statistics.infinities,
        statistics.histogram,
    )


def _short(value: float) -> float:
    """Return a figure in as many digits as are ever causes_shown, and a few to sort by."""
    return float(f"{value:.6g}")
