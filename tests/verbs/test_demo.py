"""`demo` writes the model that every example uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import ckptconv

if TYPE_CHECKING:
    from conftest import Cli


def test_it_is_the_model_of_the_repository(cli: Cli, dates: Path, tmp_path: Path) -> None:
    """Every file is there, byte for byte; the text names what to try, and --json the files."""
    outcome = cli("demo", tmp_path / "mine", "--json")
    written = json.loads(outcome.out)
    assert written["files"] == sorted(path.name for path in dates.iterdir())
    for name in written["files"]:
        assert (tmp_path / "mine" / name).read_bytes() == (dates / name).read_bytes()
    again = cli("demo", tmp_path / "other")
    assert f"  ckptconv inspect {tmp_path / 'other'}\n" in again.out


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
