"""What GitHub's runner understands: workflow commands in the output, and a page for the summary of a job.

The runner takes a line that begins with `::` for a command, from stdout and stderr alike. Ours go to stderr, so that
stdout stays the result's.

Source: docs.github.com, "Workflow commands for GitHub Actions"; actions/toolkit, `command.ts`, for the escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ckptconv.base.errors import markdown
from ckptconv.report.cases import JUnitCase, cases
from ckptconv.report.text import printable, size
from ckptconv.report.verify import (
    cause_sentence,
    kind_headers,
    kind_rows,
    legend,
    outside_text,
    percent_text,
    verdict,
    verdict_text,
)

if TYPE_CHECKING:
    from ckptconv.base.errors import CkptconvError
    from ckptconv.verbs.verify import Verification

MAX_ANNOTATIONS = 10
"""The runner shows no more of one step."""
CAUSES = ("weights", "config")
"""Parts whose failures explain those of the outputs."""
MAX_FAILURES = 50
"""Rows in the summary's table of failures; --json and --junit have them all."""
DATA: dict[str, int | str | None] = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY: dict[str, int | str | None] = DATA | {":": "%3A", ",": "%2C"}


def annotated(result: Verification) -> Iterator[str]:
    """Return an error that names the cause, then one for each of the first failures; nothing for a match.

    Where weights or config keys differ, the outputs beyond their limits are consequences, and only counted.
    """
    failures = [case for case in cases(result) if case.failure]
    if result.where:
        message = cause_sentence(result.where, result.weights.problems)
        if result.where.first:
            message += f"\nfirst output beyond its limit: {outside_text(result.where.first)}"
        yield command("error", "verify: mismatch", message)
    elif failures:
        yield command("error", f"verify: {verdict(result)}", verdict_text(result))
    named = [case for case in failures if case.part in CAUSES] or failures
    room = MAX_ANNOTATIONS - 1
    shown = named if len(failures) <= room else named[: room - 1]
    for case in shown:
        yield command("error", f"verify: {case.part}: {case.name}", case.failure)
    if len(failures) > len(shown):
        yield command("error", "verify", f"and {len(failures) - len(shown)} more failed checks")


def error_annotation(verb: str, error: CkptconvError) -> str:
    """Return an error that kept a command from coming to a result."""
    return command("error", f"{verb}: {type(error).__name__}", str(error))


def error_summary(verb: str, error: CkptconvError, tame: Callable[[str], str] = str) -> str:
    """Return Markdown for GITHUB_STEP_SUMMARY where a command came to no result.

    Args:
        verb: its name.
        error: what happened.
        tame: what else is done to its text, before it is made printable.
    """
    lines = printable(tame(str(error))).split("\n")
    text = "<br>\n".join(map(markdown, lines[:MAX_FAILURES]))
    return f"### :x: ckptconv {verb}: {type(error).__name__}\n\n{text}\n"


def command(kind: str, title: str, message: str) -> str:
    """Return one workflow command; nothing in its texts can end it, or begin another."""
    return f"::{kind} title={_escaped(title, PROPERTY)}::{_escaped(message, DATA)}"


def _escaped(text: str, escapes: dict[str, int | str | None]) -> str:
    return printable(text).translate(str.maketrans(escapes))


def summary(result: Verification) -> str:
    """Return Markdown for GITHUB_STEP_SUMMARY: the verdict, its cause, what was compared, and every failed check."""
    mark = ":white_check_mark:" if result.matches else ":x:"
    names = " against ".join(f"`{_code(str(path))}`" for path in (result.target, result.source))
    lines = [
        f"### {mark} ckptconv verify: {verdict(result)}",
        "",
        f"{names}, {markdown(result.pair)}, {result.naming}",
        "",
    ]
    if result.where:
        sentence = cause_sentence(result.where, result.weights.problems)
        lines += [f"**{markdown(sentence)}**", ""]
    lines += _compared(result)
    return "\n".join([*lines, *_failures([case for case in cases(result) if case.failure]), ""])


def _compared(result: Verification) -> Iterator[str]:
    """Return the table of what was compared."""
    weights, outputs = result.weights, result.outputs
    headers = ["compared", "passed"]
    if outputs:
        headers += [" ".join(header.split()) for header in kind_headers(outputs)[2:]]
    yield f"| {' | '.join(headers)} |"
    yield f"|---|{'--:|' * (len(headers) - 1)}"
    wrong = len(weights.differences)
    wrong += sum(problem.kind == "not equal" for problem in weights.problems)
    blank = " |" * (len(headers) - 2)
    yield f"| weights, {size(weights.nbytes)} | {weights.tensors - wrong}/{weights.tensors} |{blank}"
    if outputs:
        yield from (f"| {' | '.join(map(markdown, row))} |" for row in kind_rows(outputs))
        yield from ("", legend(outputs))
        if outputs.coverage:
            share = percent_text(outputs.coverage.percent)
            yield from ("", f"{share} of the weights influence the outputs.")


def _failures(failures: list[JUnitCase]) -> Iterator[str]:
    if failures:
        yield from ("", "| failed check | | found |", "|---|---|---|")
    for case in failures[:MAX_FAILURES]:
        yield f"| {case.part} | {markdown(case.name)} | {markdown(case.failure)} |"
    if len(failures) > MAX_FAILURES:
        yield f"| | and {len(failures) - MAX_FAILURES} more | |"


def _code(text: str) -> str:
    """Return text for a code span: nothing ends it."""
    return printable(text).replace("`", "'").replace("\n", " ")
