"""`untrusted`: 40 hostile names, and every place where they are shown."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.errors import (
    UNSEEN,
    PlanError,
    Problem,
    SourceError,
    markdown,
    one_line,
    printable,
)
from ckptconv.binding.plan import Plan
from ckptconv.report import check as render_check
from ckptconv.report import conversions as render
from ckptconv.report.text import dump, error_text, problems_json
from ckptconv.transfer.casting import Counts, TensorValues, value_notices
from ckptconv.verbs.check import Finding
from covering import over

if TYPE_CHECKING:
    from conftest import Cli, MakePair

HOSTILE = {
    "escape": "a\x1b[2Jb",
    "title": "a\x1b]0;owned\x07b",
    "link": "\x1b]8;;file:///\x1b\\b",
    "csi": "a\x9b31mb",
    "carriage": "all is well\rMATCH",
    "line": "a\nMATCH: all",
    "crlf": "a\r\n::error::b",
    "bell": "a\x07b",
    "backspace": "a\x08b",
    "tab": "a\tb",
    "vertical": "a\x0bb",
    "form feed": "a\x0cb",
    "null": "a\x00b",
    "delete": "a\x7fb",
    "next line": "a\x85b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "right to left": "a\u202egpj.b",
    "isolate": "a\u2066b\u2069",
    "mark": "a\u200fb",
    "arabic mark": "a\u061cb",
    "zero width": "a\u200bb",
    "joiner": "a\u200db",
    "word joiner": "a\u2060b",
    "byte order": "\ufeffa",
    "soft hyphen": "a\u00adb",
    "filler": "a\u3164b",
    "grapheme joiner": "a\u034fb",
    "variation": "a\ufe0fb",
    "tag": "a\U000e0041b",
    "no break": "a\u00a0b",
    "high half": "a\ud800b",
    "low half": "a\udc80b",
    "private": "a\ue000b",
    "no character": "a\uffffb",
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "cdata": "a]]>b",
    "entity": "&lt;b&#27;",
    "comment": "<!-- a",
    "cell": "a|b",
    "code": "`a` [b](c) *d*",
    "heading": "# a",
    "workflow": "::set-output name=a::b%0A",
}
SAFE = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]*", re.DOTALL)
names = over("name", HOSTILE.values())


def assert_harmless(text: str) -> None:
    """Hold every character against Unicode's own categories: no control, format, surrogate, private or unknown one."""
    bad = {
        c
        for c in text
        if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
    }
    assert bad | (set(text) & UNSEEN) == set()
    assert SAFE.fullmatch(text)


@names
def test_a_line_stays_a_line(name: str) -> None:
    """What is harmless is kept as it is; nothing else is left, and the result can be printed anywhere."""
    line = one_line(name)
    assert_harmless(line)
    assert "\n" not in line
    assert printable(line) == one_line(line) == line
    assert one_line("Größe 東京 ✓ encoder/kernel:0") == "Größe 東京 ✓ encoder/kernel:0"


@pytest.fixture(scope="module")
def plain(
    make_pair: MakePair, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, ckptconv.Checked]:
    """Return a plan, and what `check` says of the output, of a pair with tame names."""
    folder = tmp_path_factory.mktemp("tame")
    plan = ckptconv.pt2flax(make_pair().write(folder / "a"), folder / "b").plan
    return plan, ckptconv.check(folder / "b")


@names
def test_text(name: str, plain: tuple[Plan, ckptconv.Checked]) -> None:
    """Plans, closing lines, checks and notices: as many lines as with a tame name, and harmless."""
    whole, checked = plain

    def said(word: str) -> list[str]:
        first = whole.moves[0]
        assert first.source
        source = replace(first.source, spec=first.source.spec.renamed(word))
        plan = replace(
            whole, moves=(replace(first, source=source, target=first.target.renamed(word)),)
        )
        values = (TensorValues(word, "float32", "float16", 9, Counts(1, 1, 1, 1, 1)),)
        finding = Finding("tensor", word, word)
        spoilt = replace(checked, findings=(finding, finding))
        return [render.plan_text(plan), *value_notices(values), render_check.check_text(spoilt)]

    texts = said(name)
    for text in texts:
        assert_harmless(text)
    assert [text.count("\n") for text in texts] == [text.count("\n") for text in said("tame")]


@names
def test_errors(name: str) -> None:
    """A refusal of many problems names each on one line."""
    problems = [
        Problem("unexpected", name, f"the same tensor as {name}"),
        Problem("missing", "tame"),
    ]
    text = error_text(PlanError("source", problems, "hint"))
    assert_harmless(text)
    assert len(text.splitlines()) == 4
    assert_harmless(error_text(SourceError(f"{name}: refused")))


@names
def test_json(name: str) -> None:
    """JSON is pure ASCII without controls, and gives the name back exactly."""
    text = dump({"problems": problems_json([Problem("missing", name)])})
    assert text.isascii()
    assert_harmless(text)
    assert json.loads(text)["problems"][0]["name"] == name


@names
def test_markdown(name: str) -> None:
    """A cell stays one cell of one row: no tag, link, emphasis or code begins in it."""
    cell = markdown(name)
    assert_harmless(cell)
    assert not re.search(r"(?<!\\)[|`*_\[\]<>#~&]|\n", cell.replace("\\\\", ""))
    assert re.sub(r"\\([^\w\s]|_)", r"\1", cell) == one_line(name)


def test_paths_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    """A path with commands in it is shown escaped, in errors, with and without --json."""
    for name in ("a\x1b[2J", "b\u202e", "c\nMATCH: all", "d\udcff"):
        outcome = cli("check", tmp_path / name)
        assert outcome.code == 3
        assert_harmless(outcome.err)
        outcome = cli("check", tmp_path / name, "--json")
        assert (json.loads(outcome.out)["exit_code"], outcome.out.isascii()) == (3, True)
