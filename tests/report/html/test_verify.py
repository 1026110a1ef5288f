"""`verify --html`: what the page shows, in a browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from answers import outputs
from browser import PHONE
from ckptconv.report.html.page import page_html
from ckptconv.report.html.verify import verification_page
from ckptconv.report.html.words import token_words
from ckptconv.run.forward import Coverage, TensorCoverage
from ckptconv.verbs.verify import Verification

if TYPE_CHECKING:
    from conftest import Cli, Open


def titles(result: Verification) -> list[str]:
    """Return the headings of a page."""
    return [section.title for section in verification_page(result).sections]


def test_weights_alone(cli: Cli, dates: Path, converted_tf: Path, tmp_path: Path) -> None:
    """Without outputs the page has every tensor of the target with its verdict, and no framework runs."""
    file = tmp_path / "page.html"
    outcome = cli("verify", dates, converted_tf, "--level", "weights", "--quiet", "--html", file)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    text = file.read_text()
    assert "The weights are the same." in text
    assert text.count('"identical to the source, bit for bit"') == 101


def test_sections(match: Verification, verification: Verification) -> None:
    """A mismatch has also where it comes from; coverage stands where it was measured."""
    common = ["Outputs", "Errors", "Attention", "Tokens"]
    assert titles(match) == ["Summary", *common, "Weights", "Environment"]
    covered = Coverage((TensorCoverage("a", 4, 4, 2, 2), TensorCoverage("b", 6, 0, 3, 0)))
    assert verification.outputs
    result = replace(verification, outputs=replace(verification.outputs, coverage=covered))
    rest = [*common[1:], "Coverage", "Environment"]
    assert titles(result) == ["Summary", "Cause", "Outputs", "Weights", *rest]
    section = next(
        section for section in verification_page(result).sections if section.title == "Coverage"
    )
    assert section.blocks[0].items[0] == ("40.0 %", "of the elements reached what was compared")  # type: ignore[union-attr]
    assert section.blocks[1].rows == [  # type: ignore[union-attr]
        ("b", "weights", 0.0, 6, 3, 0),
        ("a", "weights and outputs", 100.0, 4, 2, 2),
    ]


def test_determinism(verification: Verification) -> None:
    """The same result gives the same bytes."""
    assert page_html(verification_page(verification)) == page_html(verification_page(verification))


@pytest.mark.thorough
def test_size(match: Verification) -> None:
    """A page for 521 tensors and 48 maps of attention, as a bert-base pair has, stays below 2.5 MB."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(1, 13):
        kinds = (
            f"encoder.{number}.attention",
            f"decoder.{number}.attention",
            f"decoder.{number}.cross",
        )
        shapes |= dict.fromkeys(kinds, (3, 12, 41, 41))
    shapes |= {"encoder.last": (3, 41, 8), "logits": (3, 41, 8)}
    weights = replace(match.weights, moves=match.weights.moves * 5)
    page = verification_page(replace(match, weights=weights, outputs=outputs(shapes=shapes)))
    assert len(page_html(page)) < 2_500_000


@pytest.mark.browser
def test_a_match(open_page: Open, match: Verification, tmp_path: Path) -> None:
    """No quantity is marked, and no token."""
    page = open_page(verification_page(match))
    page.draw()
    page.screenshot(tmp_path / "page.png")
    assert page.texts("h1, .subject") == [
        "Match",
        f"{match.target} (PyTorch) against {match.source} (PyTorch)",
    ]
    assert page.texts(".tiles b") == ["101 of 101", "1.7 MB", "9 of 9", "10"]
    assert page.script("return document.querySelector('.plot').layout.shapes || []") == []
    assert page.all(".wrong, .tie, .after, .bad") == []
    assert (page.logs(), page.requests()) == ([], [(tmp_path / "page.html").as_uri()])


@pytest.mark.browser
def test_a_mismatch(open_page: Open, verification: Verification, tmp_path: Path) -> None:
    """The first divergence is marked in the plot, in the maps, and in the tokens."""
    page = open_page(verification_page(verification), scheme="dark")
    page.draw()
    page.screenshot(tmp_path / "page.png")
    assert page.texts(".verdict .word") == ["Mismatch"]
    assert page.texts("#cause b")[0] == "first output beyond its limit"
    assert page.texts("#cause code") == [
        f"ckptconv diff {verification.source} {verification.target} --html diff.html"
    ]
    plot = page.script(
        "const p = document.querySelector('#outputs .plot'); return [p.data, p.layout]"
    )
    assert [trace["name"] for trace in plot[0]] == ["allowed", "PyTorch's own rounding", "target"]
    assert plot[0][2]["marker"]["symbol"] == ["circle", *["x"] * 8]
    assert (plot[1]["shapes"][0]["x0"], plot[1]["annotations"][0]["text"]) == (
        1,
        "first beyond its limit: encoder.1.attention",
    )
    names = page.script(
        "return [...document.querySelectorAll('#errors option')].map((o) => o.textContent)"
    )
    assert names == [
        "encoder.1.attention, probe full",
        "logits, probe full",
        "encoder.last, probe full",
    ]
    heads = page.script(
        "const t = document.querySelector('#attention .plot').data[0]; return [t.y, t.x, t.z]"
    )
    assert heads[:2] == [
        ["encoder.1.attention", "decoder.1.attention", "decoder.1.cross"],
        ["0", "1"],
    ]
    assert min(value for row in heads[2] for value in row) > 3
    page.choose("#attention select", "2")
    shape = page.script(
        "const z = document.querySelectorAll('#attention .plot')[1]._fullData[0].z; return [z.length, z[0].length]"
    )
    assert shape == [6, 7]
    assert page.texts(".aligned .wrong span") == ["-", "."]
    words = token_words(verification.source)
    assert page.texts(".aligned .tie span") == ["[MASK]", "\N{OPEN BOX}"]
    after = [words.get(token, "\N{EMPTY SET}") for token in (9, 9, 3, None, 3, 3)]
    assert page.texts(".aligned .after span") == after
    assert (page.logs(), page.requests()) == ([], [(tmp_path / "page.html").as_uri()])


@pytest.mark.browser
def test_on_a_phone_and_on_paper(
    open_page: Open, verification: Verification, tmp_path: Path
) -> None:
    """Nothing is wider than the window; printing draws every plot, in the colours of paper."""
    page = open_page(verification_page(verification), PHONE, scheme="dark")
    whole, seen = page.script(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert whole == seen <= PHONE[0]
    assert page.paper(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    printed = page.script("return document.querySelector('.choice .printed').textContent")
    choices = page.script("return document.querySelector('.choice select').length")
    assert printed == f"one of {choices}; the page shows the others on a screen"
    drawn = page.script(
        "return [...document.querySelectorAll('.plots .plot')].every((e) => e.querySelector('.main-svg'))"
    )
    assert (drawn, page.logs()) == (True, [])
    paper = page.script(
        "dispatchEvent(new Event('beforeprint'));"
        "const seen = [getComputedStyle(document.body).color, document.querySelectorAll('tr.line').length];"
        "dispatchEvent(new Event('afterprint')); return seen"
    )
    assert paper == ["rgb(28, 29, 32)", 101]
    assert len(page.all("tr.line")) == 30


@pytest.mark.soak
@pytest.mark.frameworks
@pytest.mark.browser
def test_a_real_run(
    cli: Cli, open_page: Open, dates: Path, converted_flax: Path, tmp_path: Path
) -> None:
    """Both models run, and the page has what they answered."""
    file = tmp_path / "page.html"
    outcome = cli(
        "verify", dates, converted_flax, "--html", file, "--text", "the 3rd of March, 1998"
    )
    assert outcome.code == 0
    page = open_page(file)
    page.draw()
    assert page.texts(".verdict .word") == ["Match"]
    assert "1998-03-03" in page.texts("td")
    assert page.logs() == []
