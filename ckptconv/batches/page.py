"""How a batch ended, as a page: what is not proven first, then every conversion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptconv.batches.batch import Batch
from ckptconv.batches.report import notes_text, verdict_text
from ckptconv.report.html.blocks import Cell, Column, Facts, Grid, Notes, Page, Section, Tiles, Tone
from ckptconv.report.text import size

COLUMNS = (
    Column("target", "name"),
    Column("source", "name", visible="wide"),
    Column("command", visible="wide", choose=True),
    Column("verdict", "verdict", choose=True),
    Column("coverage [%]", "figure", visible="wide"),
    Column("seconds", "figure"),
    Column("model", visible="wide", choose=True),
    Column("tensors", "count", visible="opened"),
    Column("bytes", "bytes", visible="opened"),
    Column("level", visible="opened", choose=True),
    Column("target is", visible="opened"),
    Column("message", visible="opened"),
    Column("report", "report", visible="opened"),
)
MAX_CAUSES = 30
"""Causes that stand before the table, which has them all."""


def batch_page(result: Batch) -> Page:
    """Return a batch as a page."""
    tone: Tone = "good" if result.matches else "bad"
    word, _, rest = verdict_text(result).partition(": ")
    summary = f"{rest[0].upper()}{rest[1:]}."
    return Page("batch", result.plan, word.capitalize(), tone, summary, tuple(_sections(result)))


def _sections(result: Batch) -> Iterator[Section]:
    facts = Facts([("plan", result.plan), ("records", str(result.records))])
    yield Section("Summary", (Tiles(list(_tiles(result))), facts))
    failures = [outcome for outcome in result.outcomes if not outcome.matches]
    if failures:
        notes: list[tuple[Tone, str, str]] = [
            ("bad", outcome.verdict, f"{outcome.task.target}\n{outcome.message}")
            for outcome in failures[:MAX_CAUSES]
        ]
        if len(failures) > MAX_CAUSES:
            notes.append(("calm", "more", f"{len(failures) - MAX_CAUSES:,} more; see below"))
        yield Section("Not proven", (Notes(notes),), "What differs, or could not be done, and why.")
    yield Section(
        "Conversions", (_grid(result),), "Every conversion of the plan; open a row for its report."
    )


def _tiles(result: Batch) -> Iterator[tuple[str, str]]:
    proven = sum(outcome.matches for outcome in result.outcomes)
    yield f"{proven:,} of {len(result.outcomes):,}", "conversions proven"
    yield size(sum(outcome.nbytes for outcome in result.outcomes)), "compared"
    yield f"{sum(outcome.resumed for outcome in result.outcomes):,}", "proven by an earlier run"
    yield f"{result.seconds:,.0f} s", "for this run"


def _grid(result: Batch) -> Grid:
    rows: list[Sequence[Cell]] = []
    for outcome in sorted(result.outcomes, key=lambda outcome: outcome.matches):
        task = outcome.task
        origin = "written by this run" if outcome.written else "from an earlier run"
        rows.append(
            (
                task.target,
                task.source,
                task.command,
                outcome.verdict,
                outcome.coverage,
                outcome.seconds,
                outcome.pair.replace("->", "\N{RIGHTWARDS ARROW}"),
                outcome.tensors,
                outcome.nbytes,
                task.level,
                "" if task.command == "verify" else origin,
                outcome.message,
                "\n\n".join(filter(None, (outcome.report, notes_text(outcome)))),
            )
        )
    return Grid("conversions", COLUMNS, rows)
