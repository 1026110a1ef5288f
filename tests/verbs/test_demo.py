"""`demo` writes the model that every example uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.errors import UsageError
from ckptconv.verbs.demo import MODELS

if TYPE_CHECKING:
    from conftest import Cli

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_it_is_the_model_of_the_repository(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """Every file is there, byte for byte; the text names what to try, and --json the files."""
    outcome = cli("demo", tmp_path / "mine", "--json")
    written = json.loads(outcome.out)
    assert written["files"] == sorted(path.name for path in dates.iterdir())
    for name in written["files"]:
        assert (tmp_path / "mine" / name).read_bytes() == (dates / name).read_bytes()
    place = tmp_path / f"an other {'place' * 20}"
    again = cli("demo", place)
    assert f"  ckptconv pt2tf '{place}' '{place}-tf'\n" in again.out


@pytest.mark.parametrize("model", MODELS)
def test_each_model_is_written_whole(model: str, cli: Cli, tmp_path: Path) -> None:
    """With what lies in folders of its own; and the command line knows every model that there is."""
    outcome = cli("demo", tmp_path / "mine", "--model", model)
    assert (outcome.code, MODELS[model] in " ".join(outcome.out.split())) == (0, True)
    source = FIXTURES / model
    for path in (path for path in source.rglob("*") if path.is_file()):
        assert (tmp_path / "mine" / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_a_model_that_there_is_not(cli: Cli, tmp_path: Path) -> None:
    """Is wrong usage, which names those that there are, in Python as on the command line."""
    outcome = cli("demo", tmp_path / "mine", "--model", "digit")
    assert outcome.code == 2
    assert all(model in outcome.err for model in MODELS)
    with pytest.raises(UsageError, match="'digit' is not one of 'dates', "):
        ckptconv.demo(tmp_path / "mine", "digit")
    assert not (tmp_path / "mine").exists()


def test_what_exists_stays(cli: Cli, tmp_path: Path) -> None:
    """Exit code 4, and what was there is there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("keep")
    assert cli("demo", tmp_path / "mine").code == 4
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["note"]


def test_from_python(tmp_path: Path) -> None:
    """The function returns what was written."""
    result = ckptconv.demo(tmp_path / "mine")
    assert (result.path, result.nbytes > 1_600_000) == (tmp_path / "mine", True)
