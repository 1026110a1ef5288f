"""What a CI is told: the exit code, a file for JUnit, annotations on stderr, a page for the job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

import pytest

if TYPE_CHECKING:
    from conftest import Cli

WEIGHTS = ("--level", "weights")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as nobody's CI, wherever these tests run."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def changed(path: Path) -> Path:
    """Change the last byte of a checkpoint's weights: the last element of its last tensor."""
    file = next(path.glob("*.msgpack"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    return path


@pytest.fixture
def wrong(cli: Cli, dates: Path, tmp_path: Path) -> Path:
    """Return a converted checkpoint with one wrong element."""
    assert cli("pt2flax", dates, tmp_path / "wrong").code == 0
    return changed(tmp_path / "wrong")


def test_a_match_on_github(
    cli: Cli, dates: Path, converted_flax: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No annotation, a row in the page of the job below what is there, and a file for JUnit."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page.md"))
    (tmp_path / "page.md").write_text("before\n")
    outcome = cli("verify", dates, converted_flax, *WEIGHTS, "--junit", tmp_path / "junit.xml")
    assert (outcome.code, "::" in outcome.err) == (0, False)
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("before\n### :white_check_mark: ckptconv verify: match\n")
    assert "| 101/101 |" in page
    assert Xml.parse(tmp_path / "junit.xml").getroot().get("failures") == "0"


def test_a_mismatch_on_github(
    cli: Cli, dates: Path, wrong: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1; the annotation names the tensor, and stays out of the JSON on stdout."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    outcome = cli("verify", dates, wrong, *WEIGHTS, "--json", "--junit", tmp_path / "junit.xml")
    cause, line = [line for line in outcome.err.splitlines() if line.startswith("::")]
    (result,) = json.loads(outcome.out)["weights"]["differences"]
    assert outcome.code == 1
    assert cause.startswith("::error title=verify%3A mismatch::cause: 1 tensor differs: ")
    assert line.startswith(f"::error title=verify%3A weights%3A {result['name']}::")
    assert Xml.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"


def test_an_error_is_told(
    cli: Cli, dates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be verified is an error for JUnit and GitHub too, and keeps its exit code."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    outcome = cli("verify", dates, tmp_path / "none", *WEIGHTS, "--junit", tmp_path / "junit.xml")
    assert outcome.code == 3
    assert "::error title=verify%3A SourceError::" in outcome.err
    root = Xml.parse(tmp_path / "junit.xml").getroot()
    assert (root.get("tests"), root.get("errors")) == ("1", "1")


def test_a_batch_that_ends_in_an_error_is_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that is refused is an annotation, a summary and a case for JUnit, with all its problems."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page.md"))
    plan, junit = tmp_path / "plan.toml", tmp_path / "junit.xml"
    plan.write_text('[[conversion]]\ncommand = "pt2tf"\nsource = "a"\ntarget = "b"\ndtype = "x"\n')
    outcome = cli("batch", plan, "--junit", junit)
    assert outcome.code == 2
    assert "::error title=batch%3A UsageError::" in outcome.err
    error = Xml.parse(junit).getroot().find("testsuite/testcase/error")
    assert error is not None
    assert "conversion 1: dtype: 'x' is not one of" in str(error.text)
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("### :x: ckptconv batch: UsageError\n")
    assert "conversion 1: dtype: 'x' is not one of" in page


def test_elsewhere_nothing_is_annotated(cli: Cli, dates: Path, wrong: Path) -> None:
    """Without GITHUB_ACTIONS there is no command for a runner in the output."""
    outcome = cli("verify", dates, wrong, *WEIGHTS)
    assert outcome.code == 1
    assert "::" not in outcome.err + outcome.out


def test_a_page_that_cannot_be_written(
    cli: Cli, dates: Path, converted_flax: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note, and the verdict stands."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "page.md"))
    outcome = cli("verify", dates, converted_flax, *WEIGHTS)
    assert outcome.code == 0
    assert "page.md: no summary was written (No such file or directory)" in outcome.err


def test_a_file_that_cannot_be_written_is_said_first(
    cli: Cli, dates: Path, converted_flax: Path
) -> None:
    """Before anything is compared, with exit code 4."""
    outcome = cli("verify", dates, converted_flax, "--junit", "/none/junit.xml")
    assert (outcome.code, outcome.out) == (4, "")
    assert "/none/junit.xml: the directory /none does not exist; create it first." in outcome.err
