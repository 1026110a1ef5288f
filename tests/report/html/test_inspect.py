"""`inspect --html`: what the page shows, in a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.report.html.inspect import inspection_page
from ckptconv.stores.tensor import TensorSpec
from ckptconv.verbs.inspect import Inspection

if TYPE_CHECKING:
    from conftest import Cli, Open

HOSTILE = "<img src=x onerror=alert(1)>\u202e.layer.0.]]>"


def test_the_command_writes_a_page(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """`--html` writes a page beside what is printed, and replaces what was there."""
    file = tmp_path / "page.html"
    file.write_text("old")
    outcome = cli("inspect", dates, "--json", "--html", file)
    assert (outcome.code, outcome.err, json.loads(outcome.out)["pair"]) == (0, "", "bert -> bert")
    text = file.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert '<h1 class="word">Complete</h1>' in text


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "{0}: is a directory, not a file to write."),
        ("no/page.html", "{0}: the directory {1} does not exist; create it first."),
    ],
)
def test_a_place_that_cannot_be_written(
    cli: Cli, dates: Path, tmp_path: Path, place: str, said: str
) -> None:
    """It is refused before the work begins, as a destination that failed."""
    file = tmp_path / place
    outcome = cli("inspect", dates, "--html", file)
    assert (outcome.code, outcome.out, outcome.err) == (
        4,
        "",
        f"Error: {said.format(file, file.parent)}\n",
    )


@pytest.mark.browser
def test_the_page(open_page: Open, inspection: Inspection, tmp_path: Path) -> None:
    """Summary, commands, treemap and spread of every tensor, and the table of all."""
    page = open_page(inspection_page(inspection))
    page.draw()
    page.screenshot(tmp_path / "page.png")
    assert page.texts("h1, .subject") == [
        "Complete",
        f"{inspection.path}: bert \N{RIGHTWARDS ARROW} bert",
    ]
    assert page.texts("h2") == ["Summary", "Commands", "Parameters", "Values", "Tensors"]
    assert page.texts(".tiles b") == ["414,766", "101", "1.7 MB", "float32", "2+2"]
    assert page.texts("#commands tbody td:first-child") == [
        "split",
        "normalize",
        "pt2tf",
        "pt2flax",
    ]
    assert page.texts("#commands tbody td:nth-child(2)") == ["yes"] * 4
    ids, parents, values = page.script(
        "const t = document.querySelector('#parameters .plot').data[0]; return [t.ids, t.parents, t.values]"
    )
    assert (
        sum(value for value, one in zip(values, ids, strict=True) if one not in parents)
        == values[0]
        == 414_766
    )
    assert len(ids) == 1 + 2 + 8 + 101
    points = page.script(
        "return document.querySelector('#values .plot').data.map((t) => [t.name, t.x.length])"
    )
    assert points == [["encoder", 38], ["decoder", 37], ["cross-attention", 20], ["head", 5]]
    assert page.texts("#tensors .count") == ["101"]
    assert (page.logs(), page.requests()) == ([], [(tmp_path / "page.html").as_uri()])


@pytest.mark.browser
def test_hostile_tensors(open_page: Open, inspection: Inspection) -> None:
    """A name with a tag is a box of the treemap, a point and a row, and nothing else."""
    lines = [
        replace(line, spec=TensorSpec(f"{HOSTILE}{n}", line.spec.dtype, line.spec.shape))
        for n, line in enumerate(inspection.tensors)
    ]
    page = open_page(inspection_page(replace(inspection, tensors=tuple(lines), pair=HOSTILE)))
    page.draw()
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert page.texts(".subject") == [
        f"{inspection.path}: {shown}".replace("->", "\N{RIGHTWARDS ARROW}")
    ]
    assert page.texts("td.name")[0] == f"{shown}0"
    labels = page.script("return document.querySelector('.plot').data[0].labels")
    assert sum("&lt;" in label for label in labels) + sum("]]" in label for label in labels) > 0
    assert (page.all("img"), page.logs()) == ([], [])


def test_what_is_wrong_stands_first(inspection: Inspection) -> None:
    """Problems make the verdict, then a table that does not apply, then values that are not finite."""
    from ckptconv.base.errors import Problem
    from ckptconv.verbs.inspect import ValueFinding

    finding = ValueFinding("not finite", ("a",), "a: 1 NaN, 0 infinite")
    results = (
        replace(inspection, problems=(Problem("missing", "a", "expected [2]"),)),
        replace(inspection, refusal="model type 'x' is unknown"),
        replace(inspection, findings=(finding,)),
    )
    pages = [inspection_page(result) for result in results]
    assert [(page.verdict, page.tone, page.summary) for page in pages] == [
        ("Incomplete", "bad", "1 problem with its tensors; see State."),
        ("Unknown", "calm", "No table applies: model type 'x' is unknown"),
        (
            "Not finite",
            "bad",
            "Every tensor that the config asks for is there, but some values are not numbers.",
        ),
    ]
    states = [
        section.blocks for page in pages for section in page.sections if section.title == "State"
    ]
    assert [block.items for (block,) in states] == [  # type: ignore[union-attr]
        [("bad", "missing", "a: expected [2]")],
        [("bad", "refused", "model type 'x' is unknown")],
    ]
