"""CONTRIBUTING.md and docs/architecture.md show the tree as it is: what they name exists, and no folder is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ckptconv"
PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/adding-a-family.md")
CODE = re.compile(r"`([\w./<>-]+)`")
OUTPUTS = {"encoder/", "decoder/"}
"""Folders of what ckptconv writes, not of the project."""


def paths(text: str) -> set[str]:
    """Return what a page names in code and what looks like a path of the project."""
    names = set(CODE.findall(text)) - OUTPUTS
    return {name for name in names if name.endswith((".py", ".pyi", "/")) and name != "__init__.py"}


def exists(name: str) -> bool:
    """Tell whether a path lies in the project or its package; `<name>` stands for any file of a folder."""
    pattern = re.sub(r"<\w+>", "*", name).rstrip("/")
    roots = (ROOT, PACKAGE, PACKAGE / "schema" / "families")
    return any(any(root.glob(pattern)) for root in roots)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    """Every path of the project that a page names is there."""
    names = paths((ROOT / page).read_text())
    assert names
    assert {name for name in names if not exists(name)} == set()


def test_every_folder_has_its_line() -> None:
    """The table of folders has each folder of the package once, and no other."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| folder | knows |")[2]
    rows = re.findall(r"^\| `(\w+)/` \|", table.partition("\n\n")[0], re.MULTILINE)
    assert sorted(rows) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_every_registry_has_its_line() -> None:
    """Each folder that is a registry, and the constant of its files, stands where it is said how to add things."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    calls = [
        call
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "trials"
        for call in re.findall(r'Registry\("([\w.]+)", "(\w+)"', path.read_text())
    ]
    assert len(calls) >= 7
    for package, constant in calls:
        line = rf"\| `{package.replace('.', '/')}/<\w+>\.py` with (a|its) `{constant}`"
        assert re.search(line, page), (package, constant)
