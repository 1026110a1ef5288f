"""What running both models showed, as sections of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from ckptconv.report.diff import value_text
from ckptconv.report.html.along import along, histograms
from ckptconv.report.html.attention import attention_maps, heads, places, worst_place
from ckptconv.report.html.blocks import (
    Aligned,
    AlignedPair,
    Column,
    Grid,
    Mark,
    Notes,
    PageBlock,
    Plots,
    Section,
    Table,
    Tiles,
)
from ckptconv.report.html.words import shown
from ckptconv.report.verify import kind_headers, kind_rows, legend
from ckptconv.run.forward import Coverage, ForwardReport
from ckptconv.run.yardstick import Generation

TITLES: Mapping[Mark, str] = {
    "same": "",
    "tie": "a tie, where rounding may choose: ",
    "wrong": "the first difference: ",
    "after": "",
}
REACHED = (
    Column("tensor", "name"),
    Column("evidence", choose=True),
    Column("reached, %", "figure"),
    Column("elements", "count", visible="wide"),
    Column("rows", "count", visible="opened"),
    Column("rows reached", "count", visible="opened"),
)


def outputs_sections(report: ForwardReport, words: Mapping[int, str]) -> Iterator[Section]:
    """Return errors along the layers, their spread, attention maps, tokens and coverage."""
    yield _states(report)
    spread = list(histograms(report))
    if spread:
        yield Section(
            "Errors",
            (Plots("quantity", spread),),
            "Distribution of the errors of single elements. A faithful conversion has the shape of "
            "PyTorch's own rounding.",
        )
    maps = attention_maps(report)
    if maps:
        by_head = Plots(
            "error of every attention head",
            [("", heads(maps))],
            "The largest error of each head, in multiples of PyTorch's own largest.",
        )
        by_place = Plots(
            "map",
            places(maps),
            "Largest difference between attention weights of all heads, at each query and key.",
            worst_place(maps),
        )
        yield Section(
            "Attention",
            (by_head, by_place),
            "Where attention maps differ from PyTorch in float64.",
        )
    if report.generations or report.texts:
        yield Section(
            "Tokens", tuple(_tokens(report, words)), "What both sides generated, step by step."
        )
    if report.coverage:
        yield _coverage(report.coverage)


def _states(report: ForwardReport) -> Section:
    """Return the plot along the layers, and what it comes to."""
    names = list(
        dict.fromkeys(
            quantity.probe
            for quantity in report.quantities
            if quantity.probe not in _generated(report)
        )
    )
    first = report.outside[0].probe if report.outside else ""
    plot = Plots(
        "probe",
        [(name, along(report, name)) for name in names],
        "Dashed line: the limit, a multiple of PyTorch's own rounding error.",
        names.index(first) if first in names else 0,
    )
    headers = tuple(" ".join(header.split()) for header in kind_headers(report))
    table = Table(headers, kind_rows(report), frozenset({1, 2, 3}))
    lead = "Error of each output against PyTorch in float64, in the order in which the model computes them."
    ratio = legend(report)
    loading = (
        [Notes([("bad", "loading", complaint) for complaint in report.loading])]
        if report.loading
        else []
    )
    return Section(
        "Outputs",
        (*([plot] if names else []), *loading, table),
        f"{lead} {ratio[0].upper()}{ratio[1:]}.",
    )


def _generated(report: ForwardReport) -> set[str]:
    return {generation.name for generation in report.generations}


def _tokens(report: ForwardReport, words: Mapping[int, str]) -> Iterator[PageBlock]:
    for generation in report.generations:
        rows = [
            (_title(generation, row), _pairs(generation, row, words))
            for row in range(generation.rows)
        ]
        yield Aligned(("source", "target"), rows)
    if report.texts:
        answers = [(*texts, _relation(report, texts)) for texts in report.texts]
        yield Table(("text", "source", "target", ""), answers)


def _relation(report: ForwardReport, texts: tuple[str, str, str]) -> str:
    """Return what two answers to a text are to each other."""
    text, source, target = texts
    if source == target:
        return "identical"
    return "DIFFERENT" if text in report.differing_texts else "cut differently"


def _title(generation: Generation, row: int) -> str:
    fork = next((fork for fork in generation.forks if fork.row == row), None)
    beams = generation.settings.get("num_beams", 1)
    name = generation.name if beams == 1 else f"{generation.name} of {beams}"
    if fork is None:
        return f"{name}, row {row}: identical"
    far = f"{fork.gap:.2g} apart, rounding explains {fork.noise:.2g}"
    return f"{name}, row {row}: {'a tie' if fork.is_tie else 'they diverge'} at step {fork.step}, {far}"


def _pairs(generation: Generation, row: int, words: Mapping[int, str]) -> Sequence[AlignedPair]:
    """Return the steps of both sides, one beside the other."""
    fork = next((fork for fork in generation.forks if fork.row == row), None)
    pairs = []
    for step, (first, second) in enumerate(
        zip_longest(generation.source[row], generation.target[row])
    ):
        mark: Mark = "same" if fork is None or step < fork.step else "after"
        if fork and step == fork.step:
            mark = "tie" if fork.is_tie else "wrong"
        ids = " and ".join("nothing" if token is None else str(token) for token in (first, second))
        title = f"{TITLES[mark]}tokens {ids}"
        pairs.append(AlignedPair(shown(first, words), shown(second, words), mark, title))
    return pairs


def _coverage(coverage: Coverage) -> Section:
    """Return which elements of the weights had an influence on what was compared, the least reached first."""
    least = coverage.unreached
    complete = [tensor for tensor in coverage.tensors if tensor.reached == tensor.numel]
    rows = [
        (
            tensor.name,
            tensor.evidence,
            float(f"{100 * tensor.reached / max(tensor.numel, 1):.4g}"),
            tensor.numel,
            tensor.rows,
            tensor.rows_reached,
        )
        for tensor in (*least, *complete)
    ]
    tiles = Tiles(
        [
            (f"{coverage.percent:.1f} %", "of the elements reached what was compared"),
            (f"{len(complete):,} of {len(coverage.tensors):,}", "tensors reached in full"),
        ]
    )
    lead = "What no probe reached is known by the bits of the weights alone."
    return Section("Coverage", (tiles, Grid("tensors", REACHED, rows)), lead)


def environment(report: ForwardReport) -> Section:
    """Return what ran, with which settings."""
    rows = [
        (
            answer.runner,
            ", ".join(f"{name} {version}" for name, version in answer.versions.items()),
            ", ".join(f"{name} {value_text(value)}" for name, value in answer.settings.items()),
            f"{answer.seconds:.1f} s",
        )
        for answer in report.answers
    ]
    return Section(
        "Environment",
        (Table(("framework", "versions", "settings", "time"), rows, frozenset({3})),),
        "Each framework ran in a process of its own.",
    )
