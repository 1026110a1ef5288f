"""What the site needs beside its pages: those that lie elsewhere in the repository, and what is generated.

MkDocs calls these functions by name. A link to a file of the repository that is no page becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from command_table import table
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
LINK = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")
FENCES = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Write what is generated where it belongs, and let links to the repository lead to the site's pages."""
    here = page.file.src_uri
    origin = next((source for source, own in ELSEWHERE.items() if own == here), f"docs/{here}")
    pages = {f"docs/{one.src_uri}": one.src_uri for one in files} | ELSEWHERE
    for mark, generated in GENERATED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, generated())
    parts = FENCES.split(markdown)
    return "".join(
        part if part.startswith("```") else _linked(part, origin, here, pages) for part in parts
    )


def _linked(text: str, origin: str, here: str, pages: dict[str, str]) -> str:
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
