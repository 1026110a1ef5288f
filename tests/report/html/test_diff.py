"""`diff --html`: what the page shows, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from browser import PHONE
from ckptconv.report.html.diff import diff_page
from ckptconv.verbs.diff import Diff

if TYPE_CHECKING:
    from conftest import Cli, Open

TURNED = "encoder.encoder.layer.1.attention.self.query.weight"


def test_the_command_writes_a_page(cli: Cli, dates: Path, changed: Path, tmp_path: Path) -> None:
    """`--html` writes a page, and the exit code still says that there is a difference."""
    file = tmp_path / "page.html"
    outcome = cli("diff", dates, changed, "--quiet", "--html", file)
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "")
    assert "21 of 101 tensors differ." in file.read_text()


@pytest.mark.browser
def test_the_page(open_page: Open, difference: Diff, tmp_path: Path) -> None:
    """Counts, how far each layer moved, and every tensor with how it differs, what moved most on top."""
    page = open_page(diff_page(difference))
    page.draw()
    page.screenshot(tmp_path / "page.png")
    assert page.texts("h1, .verdict p") == [
        "Different",
        f"{difference.first} and {difference.second}",
        "21 of 101 tensors differ.",
    ]
    assert page.texts("h2") == ["Summary", "Layers", "Tensors"]
    assert page.texts(".tiles b") == ["80", "20", "1", "1.7 MB"]
    bars = page.script(
        "return document.querySelector('.plot').data.map((t) => [t.name, t.x, t.y.map((y) => y > 0)])"
    )
    assert bars == [
        ["encoder", ["embeddings", "layer 0", "layer 1", "outside"], [False, False, True, False]],
        ["cross-attention", ["layer 0", "layer 1"], [True, True]],
    ]
    assert page.texts("td.name")[0] == TURNED
    page.script("document.querySelector('tr.line').click()")
    result = dict(zip(page.texts(".detail dt"), page.texts(".detail dd"), strict=True))
    assert (result["verdict"], result["how"], result["in A"]) == (
        "transposed",
        "transposed",
        TURNED,
    )
    assert (page.logs(), page.requests()) == ([], [(tmp_path / "page.html").as_uri()])


@pytest.mark.browser
def test_on_a_phone(open_page: Open, difference: Diff) -> None:
    """Nothing is wider than the window, and what matters most of a tensor is still there."""
    page = open_page(diff_page(difference), PHONE, scheme="dark")
    page.draw()
    whole, seen = page.script(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert whole == seen <= PHONE[0]
    seen = page.script(
        "return [...document.querySelectorAll('.grid th')].filter((e) => e.offsetWidth).map((e) => e.textContent)"
    )
    assert seen == ["tensor", "verdict", "change of RMS"]


def test_equal(dates: Path, converted_tf: Path) -> None:
    """Where nothing differs there is no plot of what moved."""
    page = diff_page(ckptconv.diff(dates, converted_tf))
    assert (page.verdict, page.tone, page.summary) == (
        "Equal",
        "good",
        "All 101 tensors hold the same values.",
    )
    assert [type(block).__name__ for block in page.sections[1].blocks] == ["Table"]
