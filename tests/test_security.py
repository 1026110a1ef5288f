"""`SECURITY.md`: every promise names tests, and those are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = re.findall(r"^\| (P\d+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)


def test_eighteen_promises() -> None:
    """They are numbered through, and every test that the page names stands in the row of a promise."""
    assert [number for number, _, _ in ROWS] == [f"P{n}" for n in range(1, 19)]
    assert set(re.findall(r"tests/[\w/.]+", PAGE)) == {
        name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])
    }


@pytest.mark.parametrize(("number", "promise", "held_by"), ROWS, ids=[row[0] for row in ROWS])
def test_a_promise_is_held_by_tests(number: str, promise: str, held_by: str) -> None:
    """Each has a sentence in bold, and files, or folders of files, that hold tests."""
    assert re.match(r"\*\*[^*]+\*\*", promise)
    names = re.findall(r"`([^`]+)`", held_by)
    assert names
    for name in names:
        files = [*(ROOT / name).glob("test_*.py")] if name.endswith("/") else [ROOT / name]
        assert files, f"{number}: {name} holds no tests"
        assert all("def test_" in file.read_text() for file in files), f"{number}: {name}"
