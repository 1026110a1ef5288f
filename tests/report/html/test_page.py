"""`render.html.page`: one file that asks for nothing, in which strangers' text is text."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import DESKTOP, PHONE
from ckptconv.base.environment import install_command
from ckptconv.base.errors import FrameworkError
from ckptconv.report.html.blocks import (
    Aligned,
    AlignedPair,
    Column,
    Facts,
    Grid,
    Notes,
    Page,
    Plots,
    Section,
    Table,
    Tiles,
)
from ckptconv.report.html.figures import figure, label
from ckptconv.report.html.page import page_html, require_libraries, write_page

if TYPE_CHECKING:
    from conftest import Open

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'`]]>&lt;b&gt;<a href=x>"
    "\u202e\u2066$x^2$%{y}"
)
"""A name that tries what names have been used for."""
SHOWN = HOSTILE.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066")


def everything(name: str) -> Page:
    """Return a page with every kind of block, and one name in every place."""
    columns = (
        Column("name", "name", choose=True),
        Column("count", "count"),
        Column("figure", "figure"),
        Column("min", "figure"),
        Column("max", "figure"),
        Column("values", "histogram"),
        Column("verdict", "verdict"),
    )
    rows = [
        (name, 1200, 0.5, -1.0, 1.0, (1, 2, 3), name),
        ("b", 30, float("nan"), 0.0, 1.0, (), "equal"),
        ("a10", 4, float("inf"), 0.0, 1.0, None, "equal"),
        ("a9", 5, None, None, None, None, "cast"),
    ]
    points = {
        "type": "scatter",
        "x": [label(name), "other"],
        "y": [1, 2],
        "text": [label(name)] * 2,
        "name": label(name),
        "mode": "markers+text",
        "marker": {"color": "var(--accent)"},
    }
    blocks = (
        Tiles([(name, name)]),
        Facts([(name, name)]),
        Notes([("bad", name, name)]),
        Table((name,), [(name,)]),
        Plots(
            name,
            [(name, figure([points], height=200)), ("second", figure([points], height=200))],
            name,
        ),
        Grid(name, columns, rows),
        Aligned((name, name), [(name, [AlignedPair(name, name, "wrong")])]),
    )
    return Page("inspect", name, name, "bad", name, (Section(name, blocks, name),))


def test_the_same_page_gives_the_same_bytes() -> None:
    """Nothing in a page is drawn at random, or tells the time."""
    assert page_html(everything("x")) == page_html(everything("x"))


def test_nothing_can_be_fetched_and_nothing_else_can_run() -> None:
    """Policy: no source but the page itself, and only scripts of these hashes."""
    text = page_html(everything("x"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert re.fullmatch(
        r"default-src 'none'; script-src (&#39;sha256-[\w+/=]{44}&#39; ?){5}; style-src 'unsafe-inline'; img-src data:",
        policy[1],
    )
    own = text[: text.index("<script>")]
    assert (
        re.findall(r"<(?:link|iframe|object|embed|base|form)\b|<script src|@import|\burl\(", own)
        == []
    )


def test_what_draws_nothing_needs_no_library() -> None:
    """plotly.js stands in a page once, and only where something is drawn."""
    plain = Page(
        "x", "x", "X", "calm", "x", (Section("x", (Grid("x", (Column("x"),), [("x",)]),)),)
    )
    drawn = page_html(everything("x"))
    assert len(page_html(plain)) < 36_000
    assert (drawn.count('id="plotly"'), len(drawn) < 2_200_000) == (1, True)


def test_hostile_names_are_text() -> None:
    """No tag of a name is a tag of the page, and nothing turns the direction of reading."""
    text = page_html(everything(HOSTILE))
    plain = page_html(everything("x"))
    assert text.lower().count("<script") == plain.lower().count("<script")
    assert text.lower().count("<img") == plain.lower().count("<img")
    assert ("\u202e" in text, "\u2066" in text) == (False, False)


@pytest.mark.parametrize("missing", ["jinja2", "plotly"])
def test_a_missing_library(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(FrameworkError) as caught:
        require_libraries()
    assert str(caught.value) == (
        f"--html needs {missing}, which is not installed here.\nInstall it with: {install_command('html')}"
    )


def test_write_page_replaces_a_file(tmp_path: Path) -> None:
    """A page takes the place of what has its name, and nothing is left beside it."""
    file = tmp_path / "page.html"
    file.write_text("old")
    write_page(file, everything("x"))
    assert file.read_text() == page_html(everything("x"))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.browser
def test_hostile_names_in_a_browser(open_page: Open, tmp_path: Path) -> None:
    """They are shown as they are, everywhere, and do nothing: also in plots, rows that open, and tooltips."""
    page = open_page(everything(HOSTILE))
    assert (
        page.script("return typeof Plotly") == "object"
    )  # what prints a page at once needs no patience
    page.draw()
    page.script("document.querySelector('tr.line').click()")
    assert page.texts(".brand b") == ["inspect"]
    assert page.driver.title == f"{SHOWN}: {SHOWN}"
    assert (
        page.texts("h1, h2, .grid td.name:first-child, .aligned li span, .facts dd")[:5]
        == [SHOWN] * 5
    )
    assert SHOWN in page.script("return document.querySelector('.plots .plot').textContent")
    assert page.all(".plot a, .plot img, img, svg script") == []
    assert (page.logs(), page.requests()) == ([], [(tmp_path / "page.html").as_uri()])


@pytest.mark.browser
def test_a_grid_sorts_searches_and_opens(open_page: Open) -> None:
    """Headers sort by number or word, up and down; the search takes words; a click opens a row and closes it."""
    page = open_page(everything("x"))

    def names() -> list[str]:
        return page.texts(".grid td.name")

    buttons = page.all(".grid th button")
    assert [button.text for button in buttons] == [
        "name",
        "count",
        "figure",
        "min",
        "max",
        "verdict",
    ]
    orders = []
    for number in (0, 0, 1, 1, 2, 2):
        page.script("arguments[0].click()", buttons[number])
        orders.append("".join(name[0] + name[1:] + " " for name in names()).strip())
    assert orders == [
        "a9 a10 b x",
        "x b a10 a9",
        "x b a9 a10",
        "a10 a9 b x",
        "b a10 x a9",
        "a9 x b a10",
    ]
    assert page.texts('.grid th[aria-sort="ascending"]') == ["figure"]
    search = page.one(".grid input")
    search.send_keys("a10 EQUAL")
    assert (names(), page.texts(".grid .count")) == (["a10"], ["1 of 4"])
    search.clear()
    search.send_keys("nothing of that")
    assert (names(), page.texts(".grid .count")) == ([], ["0 of 4"])
    search.clear()
    search.send_keys("x")
    page.script(
        "const url = URL.createObjectURL; URL.createObjectURL = (b) => url.call(URL, (window.saved = b))"
    )
    page.script("document.querySelector('.save').click()")
    saved = page.driver.execute_async_script("window.saved.text().then(arguments[0])")
    assert saved.splitlines()[0].startswith("name,count,figure,min,max,values,verdict")
    assert saved.splitlines()[1].startswith("x,1200,0.5,-1,1,1 2 3,x")
    page.script("document.querySelector('tr.line').click()")
    page.until("return Boolean(document.querySelector('.detail .plot')?.data)")
    assert page.texts(".detail dt") == ["name", "count", "figure", "min", "max", "verdict"]
    assert page.texts(".detail dd") == ["x", "1,200", "0.5", "-1", "1", "x"]
    assert page.script("return document.querySelector('.detail .plot').data[0].y") == [1, 2, 3]
    page.script("document.querySelector('tr.line').click()")
    assert (page.all(".detail"), page.logs()) == ([], [])


@pytest.mark.browser
def test_a_grid_shows_a_part_first(open_page: Open) -> None:
    """A long table has a button that shows all of it; a filter holds for all of it too."""
    grid = Grid(
        "names",
        (Column("name", "name"), Column("part", choose=True)),
        [(f"n{n}", "odd" if n % 2 else "even") for n in range(1000)],
    )
    page = open_page(Page("x", "x", "X", "calm", "x", (Section("x", (grid,)),)))
    assert (len(page.all("tr.line")), page.texts(".more")) == (30, ["Show all 1,000"])
    page.script("document.querySelector('.more').click()")
    assert (len(page.all("tr.line")), page.one(".more").is_displayed()) == (1000, False)
    page.choose("select", "2")
    assert (len(page.all("tr.line")), page.texts("tr.line td:last-child")[0]) == (500, "odd")
    assert page.texts(".grid .count") == ["500 of 1,000"]


@pytest.mark.browser
def test_an_address_opens_what_it_names(open_page: Open) -> None:
    """A section, a choice beside a plot and a row each have an address: given by what is opened, and opened by it."""
    first, second = (figure([{"type": "bar", "y": [n]}], height=100) for n in (1, 2))
    grid = Grid(
        "names", (Column("name", "name"), Column("part")), [(f"a/{n} %", "x") for n in range(99)]
    )
    sections = (
        Section("Outputs", (Plots("probe", [("long", first), ("left pad", second)]),)),
        Section("All weights", (grid,)),
    )
    page = open_page(Page("x", "x", "X", "calm", "x", sections))
    url = page.driver.current_url
    assert page.texts("b.chosen") == ["long"]
    page.choose("select", "1")
    page.script("document.querySelectorAll('tr.line')[7].click()")
    row = page.script("return location.hash")
    page.choose("select", "1")
    assert (page.script("return location.hash"), row) == (
        "#outputs/left%20pad",
        "#all-weights/a%2F7%20%25",
    )
    page.driver.get("about:blank")
    page.driver.get(f"{url}#outputs/left%20pad")
    page.until("return document.querySelector('.plot').data?.[0].y[0] === 2")
    assert page.texts("b.chosen") == ["left pad"]
    page.driver.get(f"{url}#all-weights/a%2F50%20%25")
    page.until("return Boolean(document.querySelector('.detail'))")
    assert page.texts("tr.open td.name") == ["a/50 %"]
    assert page.texts("nav a") == ["Outputs", "All weights"]
    assert page.script("return [...document.querySelectorAll('nav a')].map((a) => a.hash)") == [
        "#outputs",
        "#all-weights",
    ]
    for nowhere in ("#nosuch/x", "#outputs/nosuch", "#%E0%A4%A", "#all-weights/__proto__"):
        page.driver.get(f"{url}{nowhere}")
    assert page.logs() == []


def test_sections_of_one_title_have_addresses_of_their_own() -> None:
    """What repeats is numbered, and what has no letter is called a section."""
    page = Page(
        "x", "x", "X", "calm", "x", tuple(Section(title, ()) for title in ["A", "a", "?", "a-2"])
    )
    anchors = re.findall(r'<section id="([^"]*)"', page_html(page))
    assert anchors == ["a", "a-2", "section", "a-2-2"]


def test_code_in_sentences() -> None:
    """What stands between back-ticks is code; a cell of a table is as it is, but where the table has sentences."""
    blocks = (
        Notes([("calm", "n", "run `x <y>`")]),
        Table(("h",), [("`x`",)]),
        Table(("h",), [("`z`",)], prose=True),
    )
    text = page_html(Page("x", "x", "X", "calm", "x", (Section("x", blocks),)))
    assert "run <code>x &lt;y&gt;</code>" in text
    assert ("<td>`x`</td>" in text, "<td><code>z</code></td>" in text) == (True, True)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme(open_page: Open, scheme: str) -> None:
    """The page begins as the system is, the button changes it, and plots follow."""
    page = open_page(everything("x"), scheme=scheme)

    def colours() -> tuple[str, str]:
        page.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )
        ink = page.script("return getComputedStyle(document.body).color")
        return ink, page.script("return document.querySelector('.plot .point').style.fill")

    light = ("rgb(28, 29, 32)", "rgb(43, 95, 199)")
    dark = ("rgb(233, 233, 236)", "rgb(134, 170, 255)")
    steps = [colours()]
    for _ in range(2):
        page.one("#theme").click()
        steps.append(colours())
    assert steps == ([light, dark, light] if scheme == "light" else [dark, light, dark])


@pytest.mark.browser
def test_choosing_a_plot(open_page: Open) -> None:
    """The list beside a plot shows another one in its place."""
    first, second = (figure([{"type": "bar", "y": [n]}], height=100) for n in (1, 2))
    page = open_page(
        Page(
            "x",
            "x",
            "X",
            "calm",
            "x",
            (Section("x", (Plots("which", [("a", first), ("b", second)]),)),),
        )
    )
    values = []
    for chosen in ("0", "1"):
        page.choose("select", chosen)
        values.append(page.script("return document.querySelector('.plot').data[0].y"))
    assert values == [[1], [2]]


@pytest.mark.browser
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_nothing_is_wider_than_the_window(open_page: Open, size: tuple[int, int]) -> None:
    """A page scrolls down only, whatever the names are."""
    page = open_page(everything("x" * 300), size)
    whole, seen = page.script(
        "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    )
    assert whole == seen <= size[0]
