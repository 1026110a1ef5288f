"""How a batch ended, as text, as JSON, as JUnit's XML, and for GitHub's runner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from ckptconv.base.errors import markdown
from ckptconv.base.strict_json import Json
from ckptconv.batches.batch import Batch
from ckptconv.batches.task import Outcome
from ckptconv.report.github import command
from ckptconv.report.junit import counts, document
from ckptconv.report.stamp import stamped
from ckptconv.report.text import (
    PIPE,
    Screen,
    closing,
    counted,
    one_line,
    printable,
    prose,
    size,
    table,
)
from ckptconv.report.verify import percent_text

VERDICTS = ("match", "mismatch", "not proven", "refused", "failed")
HEADERS = ("verdict", "command", "source", "target", "coverage", "seconds")
MAX_FAILURES = 40
"""Failures that are shown with their causes; --json and --junit have them all."""
MAX_NOTES = 20
"""Notes in a summary; --json and --junit have them all."""
MAX_ANNOTATIONS = 10
"""GitHub's runner shows no more of one step."""


def line(outcome: Outcome) -> str:
    """Return one outcome in one line: what is said as soon as it is known."""
    how = "proven before" if outcome.resumed else f"in {outcome.seconds:.1f} s"
    cause = "" if outcome.matches else f": {_first_line(outcome)}"
    return one_line(f"{outcome.verdict.upper()} {outcome.task}, {how}{cause}")


def _first_line(outcome: Outcome) -> str:
    return outcome.message.partition("\n")[0]


def batch_text(result: Batch, screen: Screen = PIPE) -> str:
    """Return a row for each conversion, the cause of each failure and, on the last line, the verdict."""
    rows = [
        (
            outcome.verdict.upper(),
            outcome.task.command,
            outcome.task.source,
            outcome.task.target,
            percent_text(outcome.coverage) if outcome.coverage is not None else "",
            "before" if outcome.resumed else f"{outcome.seconds:.1f}",
        )
        for outcome in result.outcomes
    ]
    align = ("left", "left", "left", "left", "right", "right")
    blocks = [table(rows, HEADERS, align, screen, ("coverage", "command"))]
    failures = [outcome for outcome in result.outcomes if not outcome.matches]
    lines = [
        f"{one_line(outcome.task.target)}: {outcome.message}" for outcome in failures[:MAX_FAILURES]
    ]
    if len(failures) > MAX_FAILURES:
        lines.append(f"... and {len(failures) - MAX_FAILURES} more (--json lists them all)")
    if lines:
        blocks.append(prose("\n".join(lines), screen))
    return printable("\n\n".join([*blocks, closing(verdict_text(result), screen)]))


def notes_text(outcome: Outcome) -> str:
    """Return what the command said beside the verdict, a line each."""
    return "\n".join(f"note: {one_line(notice)}" for notice in outcome.notices)


def notices(result: Batch) -> Iterator[str]:
    """Return what the commands said beside their verdicts, each sentence once, with whose target it is of."""
    targets: dict[str, list[str]] = {}
    for outcome in result.outcomes:
        for notice in outcome.notices:
            targets.setdefault(notice, []).append(outcome.task.target)
    for notice, names in targets.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}: {notice}"


def verdict(result: Batch) -> str:
    """Return match, mismatch, not proven, or not done, in one word or two: the worst that is known."""
    if result.matches:
        return "match"
    if any(outcome.verdict == "mismatch" for outcome in result.outcomes):
        return "mismatch"
    return "not proven" if result.exit_code == 1 else "not done"


def verdict_text(result: Batch) -> str:
    """Return how many conversions ended how, in one sentence."""
    counts_by_verdict = Counter[str](outcome.verdict for outcome in result.outcomes)
    extent = counted(len(result.outcomes), "conversion")
    nbytes = size(sum(outcome.nbytes for outcome in result.outcomes))
    before = sum(outcome.resumed for outcome in result.outcomes)
    resumed = f", {before} of them proven before" if before else ""
    if result.matches:
        return f"MATCH: {extent}, {nbytes} compared{resumed}"
    parts = [f"{counts_by_verdict[word]} {word}" for word in VERDICTS if counts_by_verdict[word]]
    return f"{verdict(result).upper()}: {extent}: {', '.join(parts)}{resumed}"


def entry_json(outcome: Outcome) -> dict[str, Json]:
    """Return one conversion for --json."""
    task = outcome.task
    return {
        "command": task.command,
        "source": task.source,
        "target": task.target,
        "level": task.level,
        "options": dict(task.options),
        "verdict": outcome.verdict,
        "exit_code": outcome.exit_code,
        "message": outcome.message,
        "pair": outcome.pair,
        "tensors": outcome.tensors,
        "bytes": outcome.nbytes,
        "coverage": outcome.coverage,
        "written": outcome.written,
        "resumed": outcome.resumed,
        "seconds": round(outcome.seconds, 3),
        "report": outcome.report,
        "notices": list(outcome.notices),
    }


def batch_json(result: Batch) -> dict[str, Json]:
    """Return a batch for --json."""
    body: dict[str, Json] = {
        "verdict": verdict(result),
        "plan": result.plan,
        "records": str(result.records),
        "seconds": round(result.seconds, 3),
        "conversions": [entry_json(outcome) for outcome in result.outcomes],
    }
    return stamped("batch", body)


def batch_junit(result: Batch) -> str:
    """Return a test case for each conversion: a mismatch is a failure, what could not be done an error."""
    root = Xml.Element("testsuites", name="ckptconv batch")
    suite = Xml.SubElement(root, "testsuite", name=one_line(result.plan))
    for outcome in result.outcomes:
        name = one_line(outcome.task.target)
        case = Xml.SubElement(
            suite, "testcase", name=name, classname=f"ckptconv.batch.{outcome.task.command}"
        )
        case.set("time", f"{outcome.seconds:.3f}")
        blocks = filter(None, (outcome.message, outcome.report, notes_text(outcome)))
        text = printable("\n\n".join(blocks).strip())
        if outcome.matches:
            Xml.SubElement(case, "system-out").text = text
            continue
        kind = "failure" if outcome.exit_code == 1 else "error"
        message = one_line(_first_line(outcome))
        Xml.SubElement(case, kind, message=message, type=outcome.verdict).text = text
    for element in (suite, root):
        counts(element, suite.findall("testcase"), result.seconds)
    return document(root)


def batch_annotations(result: Batch) -> Iterator[str]:
    """Return an error for each of the first conversions that are not proven."""
    failures = [outcome for outcome in result.outcomes if not outcome.matches]
    shown = failures if len(failures) <= MAX_ANNOTATIONS else failures[: MAX_ANNOTATIONS - 1]
    for outcome in shown:
        title = f"batch: {outcome.verdict}: {outcome.task.target}"
        yield command("error", title, outcome.message)
    if len(failures) > len(shown):
        yield command("error", "batch", f"and {len(failures) - len(shown)} more")


def batch_summary(result: Batch) -> str:
    """Return Markdown for GITHUB_STEP_SUMMARY."""
    mark = ":white_check_mark:" if result.matches else ":x:"
    lines = [
        f"### {mark} ckptconv batch: {markdown(verdict_text(result))}",
        "",
        "| verdict | command | source | target | cause |",
        "|---|---|---|---|---|",
    ]
    for outcome in sorted(result.outcomes, key=lambda outcome: outcome.matches):
        cause = "" if outcome.matches else _first_line(outcome)
        cells = (
            outcome.verdict,
            outcome.task.command,
            outcome.task.source,
            outcome.task.target,
            cause,
        )
        lines.append(f"| {' | '.join(markdown(one_line(cell)) for cell in cells)} |")
    notes = [f"- {markdown(one_line(notice))}" for notice in notices(result)]
    if len(notes) > MAX_NOTES:
        notes[MAX_NOTES:] = [f"- and {len(notes) - MAX_NOTES} more"]
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])
