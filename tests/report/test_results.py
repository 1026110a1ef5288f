"""A result in Python: printed, in one line, as data, in a notebook, and as a page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
from ckptconv.base.results import PagedResult, Result
from ckptconv.report.results import RENDERINGS, document

if TYPE_CHECKING:
    from conftest import Cli

SHORT = 200
"""Characters of a repr at most, beside the paths in it."""
NOTEBOOK = """\
import ckptconv
ckptconv.verify({dates!r}, {tf!r}, "weights")
"""
PROGRESS = """\
with ckptconv.progress_bar("reading") as bar:
    checked = ckptconv.check({tf!r}, progress=bar)
"""
COMPLETION = """\
import IPython
from IPython.core.completer import provisionalcompleter
with provisionalcompleter():
    names = [match.text for match in IPython.get_ipython().Completer.completions("ckptconv.pt", 11)]
names
"""


@pytest.fixture(scope="module")
def results(
    dates: Path, converted_tf: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Result]:
    """Return a result of each kind that costs little, by the name of its class."""
    folder = tmp_path_factory.mktemp("results")
    made = (
        ckptconv.check(converted_tf),
        ckptconv.normalize(dates, folder / "normalized"),
        ckptconv.demo(folder / "demo"),
        ckptconv.diff(dates, converted_tf),
        ckptconv.inspect(dates),
        ckptconv.split(dates, folder / "parts"),
        ckptconv.verify(dates, converted_tf, "weights"),
    )
    return {type(result).__name__: result for result in made}


def test_every_result_has_a_rendering() -> None:
    """Each public class that is a result stands in the table, and none else."""
    public = {name for name in dir(ckptconv) if isinstance(getattr(ckptconv, name), type)}
    kinds = {name for name in public if issubclass(getattr(ckptconv, name), Result)}
    assert kinds == RENDERINGS.keys()
    paged = {name for name in kinds if issubclass(getattr(ckptconv, name), PagedResult)}
    assert paged == {name for name, rendering in RENDERINGS.items() if rendering.page}


def test_a_result_prints_as_the_command_line_prints(
    results: dict[str, Result], cli: Cli, dates: Path, converted_tf: Path
) -> None:
    """`print(result)` and `to_dict` are the text and the document of the command."""
    commands = {
        "Checked": ("check", converted_tf),
        "Diff": ("diff", dates, converted_tf),
        "Inspection": ("inspect", dates),
        "Verification": ("verify", dates, converted_tf, "--level", "weights"),
    }
    for kind, command in commands.items():
        assert f"{results[kind]}\n" == cli(*command).out
        assert results[kind].to_dict() == json.loads(cli(*command, "--json").out)


def test_a_repr_is_one_short_line(results: dict[str, Result]) -> None:
    """It names the class and how it ended, however many tensors there are."""
    for kind, result in results.items():
        line = repr(result)
        assert line.startswith(f"<{kind} ")
        assert line.endswith(">")
        assert "\n" not in line
        assert len(line) <= SHORT + len(str(result.to_dict().get("target", "")))
    assert repr(results["Verification"]) == (
        "<Verification MATCH: bert -> bert, tf hdf5 against PyTorch, weights>"
    )


def test_html_of_a_notebook_is_escaped(results: dict[str, Result]) -> None:
    """The verdict is coloured, the report stands in a box, and no name is markup."""
    html = results["Verification"]._repr_html_()
    assert html.startswith('<div><strong style="color:#1a7f37">MATCH</strong>: bert -&gt; bert')
    assert "<pre" in html
    for result in results.values():
        assert "bert -> bert" not in result._repr_html_()


def test_pages_from_python(results: dict[str, Result], tmp_path: Path) -> None:
    """`save_html` writes the page of the command; what has no page has no such method."""
    pytest.importorskip("plotly")
    inspection = results["Inspection"]
    assert isinstance(inspection, PagedResult)
    inspection.save_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert not hasattr(results["Checked"], "save_html")


def test_a_document_is_json(results: dict[str, Result]) -> None:
    """Nothing in a document is anything but JSON."""
    for result in results.values():
        assert json.loads(json.dumps(document(result), allow_nan=False)) == document(result)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: ckptconv.verify(a, b, "output"), "level: 'output' is not one of 'weights'"),
        (lambda a, b: ckptconv.pt2tf(a, b, "h5"), "format: 'h5' is not one of 'hdf5', 'safetens"),
        (lambda a, b: ckptconv.pt2flax(a, b, format="hdf5"), "format: 'hdf5' is not one of 'msg"),
        (lambda a, b: ckptconv.WriteOptions(dtype="fp16"), "dtype: 'fp16' is not one of 'keep'"),
        (lambda a, b: ckptconv.WriteOptions(max_shard_bytes=0), "0 is not at least 1"),
        (lambda a, b: ckptconv.JoinOptions(cross_attention="copy"), "'copy' is not one of"),
    ],
)
def test_a_wrong_word_is_a_value_error(call: Any, message: str, dates: Path) -> None:
    """Never another meaning: a misspelt level must not be a match of weights alone."""
    with pytest.raises(ValueError, match=message):
        call(dates, dates)


@pytest.mark.thorough
def test_in_a_real_notebook(dates: Path, converted_tf: Path, tmp_path: Path) -> None:
    """A cell whose value is a result shows its HTML, and plain text for what has no browser; a bar reaches its end."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = (
        NOTEBOOK.format(dates=str(dates), tf=str(converted_tf)),
        PROGRESS.format(tf=str(converted_tf)),
        COMPLETION,
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, str(root / "tests/support/notebook.py"), *cells],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    result, progress, completion = json.loads(run.stdout)
    assert result["text/html"].startswith('<div><strong style="color:#1a7f37">MATCH</strong>')
    assert result["text/plain"] == (
        "<Verification MATCH: bert -> bert, tf hdf5 against PyTorch, weights>"
    )
    assert "reading: 100%" in progress["stderr"]
    assert "Warning" not in progress["stderr"]
    assert completion["text/plain"] == "['pt2flax', 'pt2tf']"
