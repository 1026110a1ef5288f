"""What GitHub's runner understands: workflow commands in the output, and a page for the summary of a job.

The runner takes a line that begins with `::` for a command, from stdout and stderr alike. Ours go to stderr, so that
stdout stays the result's.

Source: docs.github.com, "Workflow commands for GitHub Actions"; actions/toolkit, `command.ts`, for the escapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckptconv.base.untrusted import markdown
from ckptconv.report.cases import Case, cases
from ckptconv.report.coverage import percent_text
from ckptconv.report.outputs import kind_rows
from ckptconv.report.text import printable, size

if TYPE_CHECKING:
    from ckptconv.base.errors import CkptconvError
    from ckptconv.verbs.verify import Verification

MAX_ANNOTATIONS = 10
"""The runner shows no more of one step."""
MAX_FAILURES = 50
"""Rows in the summary's table of failures; --json and --junit have them all."""
DATA: dict[str, int | str | None] = {"%": "%25", "\r": "%0D", "\n": "%0A"}
PROPERTY: dict[str, int | str | None] = DATA | {":": "%3A", ",": "%2C"}


def annotated(result: Verification) -> Iterator[str]:
    """Return an error for each of the first failures; nothing for a match."""
    failures = [case for case in cases(result) if case.failure]
    annotations = failures if len(failures) <= MAX_ANNOTATIONS else failures[: MAX_ANNOTATIONS - 1]
    for case in annotations:
        yield command("error", f"verify: {case.part}: {case.name}", case.failure)
    if len(failures) > len(annotations):
        yield command(
            "error", "verify", f"and {len(failures) - len(annotations)} more that do not match"
        )


def error_annotation(error: CkptconvError) -> str:
    """Return an error that kept everything from being verified."""
    return command("error", f"verify: {type(error).__name__}", str(error))


def command(kind: str, title: str, message: str) -> str:
    """Return one workflow command; nothing in its texts can end it, or begin another."""
    return f"::{kind} title={_escaped(title, PROPERTY)}::{_escaped(message, DATA)}"


def _escaped(text: str, escapes: dict[str, int | str | None]) -> str:
    return printable(text).translate(str.maketrans(escapes))


def summary(result: Verification) -> str:
    """Return Markdown for GITHUB_STEP_SUMMARY: the verdict, what was compared, and what does not match."""
    verdict = "match" if result.matches else "mismatch"
    mark = ":white_check_mark:" if result.matches else ":x:"
    names = " against ".join(f"`{_code(str(path))}`" for path in (result.target, result.source))
    lines = [
        f"### {mark} ckptconv verify: {verdict}",
        "",
        f"{names}, {markdown(result.pair)}, {result.naming}",
        "",
    ]
    lines += [
        "| compared | within | rms ratio | max ratio | the farthest |",
        "|---|--:|--:|--:|---|",
    ]
    weights = result.weights
    wrong = len(weights.differences) + sum(
        problem.kind == "not equal" for problem in weights.problems
    )
    lines.append(
        f"| weights, {size(weights.nbytes)} | {weights.tensors - wrong} of {weights.tensors} | | | |"
    )
    if result.outputs:
        lines += [f"| {' | '.join(map(markdown, row))} |" for row in kind_rows(result.outputs)]
        if result.outputs.coverage:
            lines += [
                "",
                f"{percent_text(result.outputs.coverage.percent)} of the weights reach the outputs.",
            ]
    return "\n".join([*lines, *_failures([case for case in cases(result) if case.failure]), ""])


def _failures(failures: list[Case]) -> Iterator[str]:
    if failures:
        yield from ("", "| does not match | | why |", "|---|---|---|")
    for case in failures[:MAX_FAILURES]:
        yield f"| {case.part} | {markdown(case.name)} | {markdown(case.failure)} |"
    if len(failures) > MAX_FAILURES:
        yield f"| | and {len(failures) - MAX_FAILURES} more | |"


def _code(text: str) -> str:
    """Return text for a code span: nothing ends it."""
    return printable(text).replace("`", "'").replace("\n", " ")
