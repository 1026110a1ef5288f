"""The site: whole, without a broken link, and without a call to any server."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from browser import DESKTOP, PHONE, chromium
from ckptconv.cli.main import cli

ROOT = Path(__file__).parents[2]
COMMANDS = cli.list_commands(click.Context(cli))
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Tag -> the attribute that a browser follows by itself."""


SEARCH = "[...document.querySelectorAll('*')].find((e) => e.shadowRoot)?.shadowRoot"
"""What Zensical's search is drawn in, as JavaScript."""


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what leads somewhere, and where one can be led."""
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag in LOADED and LOADED[tag] in attributes:
            self.loaded.append(attributes[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, as `make docs` does, and return its directory."""
    folder = tmp_path_factory.mktemp("site")
    process = build(ROOT, folder)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a work tree."""
    return subprocess.run(
        [sys.executable, str(root / "docs/_make/build_site.py"), str(target)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.thorough
def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    """A link to no page, or to no heading of a page, is named, and nothing is built."""
    root = tmp_path / "root"
    for name in ("docs", "benchmarks", "fixtures"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("names", "work", "dates")
        )
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, root)
    (root / "ckptconv").symlink_to(ROOT / "ckptconv")
    with (root / "docs/ci.md").open("a") as page:
        page.write("\n[a](no-such-page.md), [b](verify.md#no-such-heading)\n")
    process = build(root, tmp_path / "site")
    assert process.returncode == 1
    assert "2 issues found" in process.stdout + process.stderr
    assert not (tmp_path / "site").exists()


@pytest.mark.thorough
def test_every_link_leads_to_a_page_and_its_anchor(site: Path) -> None:
    """Each link of each page names a file of the site, and a heading that is there."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in {*page.links, *page.loaded}:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//") or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            wanted = unquote(parts.fragment)
            if not target.is_file() or (
                wanted and target in pages and wanted not in pages[target].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert len(pages) > len(COMMANDS)
    assert broken == []


@pytest.mark.thorough
def test_no_page_asks_a_server(site: Path) -> None:
    """No script, style, picture or frame comes from elsewhere, and no style sheet fetches one."""
    asked = [
        item for path in site.rglob("*.html") for item in Page(path).loaded if urlsplit(item).netloc
    ]
    fetched = re.compile(r"""url\(["']?((?:https?:)?//[^)]*)""")
    asked += [item for path in site.rglob("*.css") for item in fetched.findall(path.read_text())]
    assert asked == []


@pytest.mark.thorough
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_its_options(site: Path, name: str) -> None:
    """The page has a session, the help and each option from Click; the table of commands leads to it."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    text = (site / "commands" / f"{name}.html").read_text()
    options = [
        opt for param in command.params if isinstance(param, click.Option) for opt in param.opts
    ]
    table = text.partition('id="options"')[2]
    assert [option for option in options if f"<code>{option}</code>" not in table] == []
    assert "language-console" in text or "highlight" in text
    assert (
        f'<a href="{name}.html"><code>{name}</code></a>'
        in (site / "commands" / "index.html").read_text()
    )


@pytest.mark.thorough
def test_what_can_be_searched_is_there(site: Path) -> None:
    """The index of the search holds every page, and a copy that needs no server."""
    index = json.loads((site / "search.json").read_text())
    paths = {urlsplit(item["location"]).path for item in index["items"]}
    assert {f"commands/{name}.html" for name in COMMANDS} | {
        "support.html",
        "changelog.html",
    } <= paths
    assert (site / "search.js").read_text().startswith("var __index =")


@pytest.mark.thorough
def test_the_tools_of_the_site_stay_out_of_it(site: Path) -> None:
    """The code that makes the pages is no page."""
    assert [path for path in site.rglob("*") if path.suffix == ".py" or path.name == "_make"] == []


def test_exit_codes_are_told_alike() -> None:
    """The table of exit codes is the README's."""
    tables = [
        re.findall(r"^\| [\d, ]+ \| .* \|$", (ROOT / page).read_text(), re.MULTILINE)
        for page in ("README.md", "docs/commands/index.md")
    ]
    assert len(tables[0]) == 8
    assert tables[0] == tables[1]


@pytest.mark.thorough
def test_it_opens_from_a_disk_and_can_be_searched(site: Path) -> None:
    """Pages fit a desk and a phone, ask for files of the site alone, log no error, and the search finds a heading."""
    with chromium() as browser:
        for name, size in itertools.product(
            ("index", "commands/pt2tf", "support", "python"), (DESKTOP, PHONE)
        ):
            browser.open(site / f"{name}.html", size, scheme="dark" if size == PHONE else "light")
            assert browser.script("return document.documentElement.scrollWidth") <= size[0]
            assert [
                request for request in browser.requests() if not request.startswith(site.as_uri())
            ] == []
        browser.open(site / "index.html")
        browser.script("document.querySelector('.md-search__button').click()")
        browser.until(f"return Boolean({SEARCH}?.querySelector('input'))")
        browser.script(
            f"const i = {SEARCH}.querySelector('input'); i.value = 'healing';"
            "i.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        browser.until(f"return {SEARCH}.textContent.includes('pt2flax')")
        assert browser.logs() == []
