"""The sessions of the documents show what the commands print."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import sessions
from sessions import FENCE, Step, files, main, mark, pages, same, steps, today

PAGES = pages()
PAGE = """\
---
mark: faults
---

```python title="fixtures/one.txt"
first
```

```console
$ cat fixtures/one.txt; echo "in 0.1 s"
first
in 7.9 s
$ printf %s "$PWD"
```
"""


def marked() -> list[object]:
    """Return every page, with the marks of its commands: those that run models, or take long, run in `make soak`."""
    marks = {name: mark(path.read_text()) for name, path in PAGES.items()}
    return [
        pytest.param(
            name,
            marks=[getattr(pytest.mark, page), pytest.mark.soak] if page else pytest.mark.thorough,
        )
        for name, page in marks.items()
    ]


@pytest.mark.parametrize("name", marked())
def test_a_page_shows_what_its_commands_print(name: str) -> None:
    """Every command of a page prints today what the page shows, but for times, and digits where a page says so."""
    text = PAGES[name].read_text()
    assert text == today(text)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_page_shows_a_crash(name: str) -> None:
    """Sessions show no traceback and no path of the machine on which they ran."""
    shown = "".join(FENCE.findall(PAGES[name].read_text()))
    assert [
        item for item in ("Traceback", "/tmp/", "/dev/shm/", str(sessions.ROOT)) if item in shown
    ] == []


def test_steps_are_commands_with_what_they_printed() -> None:
    """A line that begins with a dollar is a command; all until the next one is its output."""
    assert steps("$ one\n$ two --x\na\n$$\n") == [Step("one", ""), Step("two --x", "a\n$$\n")]


@pytest.mark.thorough
def test_a_page_is_renewed_where_it_is_stale_alone() -> None:
    """Files that a page tells to write are there; a time that differs stays; the directory has a plain name."""
    expected = PAGE.replace('"$PWD"\n', '"$PWD"\n/home/you/work\n')
    assert today(PAGE).replace("\n/home/you\n", "\n/home/you/work\n") == expected
    assert files(PAGE) == {"fixtures/one.txt": "first\n"}
    assert mark(PAGE) == "faults"
    assert mark("# No mark\n") == ""


def test_times_never_count_and_figures_where_they_vary() -> None:
    """Seconds differ from run to run; numbers and the width of columns only where a page says that they vary."""
    assert same("in 0.1 s\n", "in 12.3 s\n", figures=False)
    assert not same("7 tensors\n", "8 tensors\n", figures=False)
    assert same("a   1.05\n-----\n", "a   0.97e-7\n------\n", figures=True)
    assert not same("7 tensors\n", "7 layers\n", figures=True)


@pytest.mark.thorough
def test_the_tool_tells_a_stale_page_and_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1 names what is stale; --write mends it; then all is as printed; a crash is never written."""
    monkeypatch.setattr(sessions, "DOCS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo now\nthen\n```\n")
    runner = CliRunner()
    assert (runner.invoke(main, ["page.md"]).output, page.read_text().count("then")) == (
        "stale: page.md\n",
        1,
    )
    assert runner.invoke(main, ["page.md", "--write"]).output == "written: page.md\n"
    assert page.read_text() == "```console\n$ echo now\nnow\n```\n"
    assert runner.invoke(main).output == "all as printed\n"
    page.write_text("```console\n$ python -c 1/0\n```\n")
    assert runner.invoke(main, ["--write"]).exit_code == 1
    assert page.read_text() == "```console\n$ python -c 1/0\n```\n"
