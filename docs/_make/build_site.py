"""Builds the site: `python docs/_make/build_site.py DIRECTORY` fails where a link or an anchor leads nowhere.

Beside the pages in docs/ it has those that lie elsewhere in the repository, and what is generated: all are laid into
one folder, which Zensical builds. A link to a file of the repository that is no page becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from command_table import options, table
from json_documents import documents
from python_reference import reference

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "fixtures/README.md": "fixtures.md",
}
"""File of the repository -> page of the site."""
GENERATED = {
    "<!-- python reference -->": reference,
    "<!-- commands -->": table,
    "<!-- documents -->": documents,
}
"""Mark in a page -> what stands in its place."""
OPTIONS = re.compile(r"<!-- options: (\w+) -->")
LINK = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
FENCES = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def lay(folder: Path) -> None:
    """Write the sources of the site into an empty folder: pages, pictures, and the configuration."""
    docs = folder / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("_make"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    for source, page in ELSEWHERE.items():
        shutil.copy(ROOT / source, docs / page)
    here = {path.relative_to(docs).as_posix(): path for path in docs.rglob("*.md")}
    pages = {f"docs/{page}": page for page in here} | ELSEWHERE
    for page, path in here.items():
        path.write_text(_finished(path.read_text(), page, pages))


def _finished(text: str, page: str, pages: Mapping[str, str]) -> str:
    """Return a page with what is generated, and with links to the site's pages in place of the repository's."""
    origin = next((source for source, own in ELSEWHERE.items() if own == page), f"docs/{page}")
    for mark, generated in GENERATED.items():
        if mark in text:
            text = text.replace(mark, generated())
    text = OPTIONS.sub(lambda match: options(match[1]), text)
    parts = FENCES.split(text)
    return "".join(
        part if part.startswith("```") else _linked(part, origin, page, pages) for part in parts
    )


def _linked(text: str, origin: str, here: str, pages: Mapping[str, str]) -> str:
    """Return text whose links lead from one page of the site to another."""

    def moved(match: re.Match[str]) -> str:
        label, path, anchor = match[1], match[2], match[3] or ""
        if not path:
            return match[0]
        found = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        if found in pages:
            return f"[{label}]({posixpath.relpath(pages[found], posixpath.dirname(here) or '.')}{anchor})"
        return label if (ROOT / found).exists() else match[0]

    return LINK.sub(moved, text)


def build(target: Path) -> int:
    """Build the site in the place of a directory; return the exit code of Zensical, which says what is wrong."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        lay(folder)
        run = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, check=False
        )
        if run.returncode == 0:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder / "site", target)
        return run.returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).resolve()))
