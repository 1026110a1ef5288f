"""What GitHub's runner reads: nothing in a name ends a command, or begins one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ckptconv.base.errors import Problem, SourceError
from ckptconv.report.github import annotated, command, error_annotation, summary
from verified import matching, mismatching

COMMAND = re.compile(r"::error title=([^:,\r\n]*)::([^\r\n]*)")


def test_the_escapes_are_the_runners() -> None:
    """In a message percent signs and line breaks; in a title colons and commas too."""
    assert command("error", "a: b, 5 %\nc", "a: b, 5 %\r\nc") == (
        "::error title=a%3A b%2C 5 %25%0Ac::a: b, 5 %25\\x0d%0Ac".replace("\\x0d", "\\r")
    )
    assert error_annotation("verify", SourceError("x: no\n::add-mask::y")) == (
        "::error title=verify%3A SourceError::x: no%0A\\x3a:add-mask::y"
    )


def test_a_match_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no annotation; the summary has a row for each kind of quantity."""
    result = matching(monkeypatch)
    assert list(annotated(result)) == []
    text = summary(result)
    assert text.startswith(
        "### :white_check_mark: ckptconv verify: match\n\n`two` against `one`, bert -\\> bert, tf\n\n"
        "| compared | passed | RMS ratio (limit 4) | max ratio (limit 8) | largest error at |\n"
        "|---|--:|--:|--:|--:|\n| weights, 12 B | 3/3 | | | |\n| encoder states | "
    )
    assert text.endswith("\n\n75.00 % of the weights influence the outputs.\n")


def test_a_mismatch_with_hostile_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is one command of ours, and every row of the tables has its cells."""
    result = mismatching(monkeypatch)
    lines = list(annotated(result))
    assert len(lines) == 4
    assert "::cause: 1 tensor is in the target but not in the source's model: a<b>" in lines[0]
    assert lines[-1] == "::error title=verify::and 5 more failed checks"
    assert all(COMMAND.fullmatch(line) for line in lines)
    assert lines[0].isprintable()
    rows = [
        line
        for line in summary(result).splitlines()
        if line.startswith("|") and "stop-commands" in line
    ]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert "<b>" not in summary(result)


def test_no_more_than_the_runner_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten annotations, of which the last counts what is left."""
    result = mismatching(monkeypatch)
    many = tuple(Problem("missing", f"tensor {number:02}") for number in range(60))
    outcome = list(annotated(replace(result, weights=replace(result.weights, problems=many))))
    assert len(outcome) == 10
    assert outcome[0].startswith("::error title=verify%3A mismatch::cause: 60 tensors are missing")
    assert outcome[1] == "::error title=verify%3A weights%3A tensor 00::missing"
    assert outcome[-1] == "::error title=verify::and 58 more failed checks"
    assert "| | and 16 more | |" in summary(
        replace(result, weights=replace(result.weights, problems=many))
    )
