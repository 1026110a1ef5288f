"""`removing`: what ckptconv made goes, and what lies behind links and mount points stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptconv.transfer.manifest import MANIFEST
from ckptconv.transfer.publish.lock import remove_directory
from conftest import ROOT
from written import mounting, write_output

REMOVE = """
import sys
from pathlib import Path
from ckptconv.transfer.publish.lock import remove_directory
print(remove_directory(Path(sys.argv[1])))
"""


def test_everything_goes(tmp_path: Path) -> None:
    """Files, links and directories at any depth; what a link leads to stays; what is missing is no error."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    stage = tmp_path / "stage"
    (stage / "a" / "b").mkdir(parents=True)
    (stage / "a" / "b" / "file").touch()
    (stage / "link").symlink_to(tmp_path / "outside")
    assert remove_directory(stage) == []
    assert remove_directory(stage) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["outside", "file"]


def test_a_link_is_no_directory(tmp_path: Path) -> None:
    """A link in the stage's place is left alone, and so is what it leads to."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (tmp_path / "stage").symlink_to("outside")
    assert remove_directory(tmp_path / "stage") == [f"{tmp_path}/stage (Not a directory)"]
    assert (tmp_path / "outside" / "file").exists()


def test_only_what_is_named_goes(tmp_path: Path) -> None:
    """What came into an output in the last moment stays, is named, and keeps the manifest beside it."""
    out = write_output(tmp_path / "out", {"encoder/config.json": "{}", "config.json": "{}"})
    (out / "encoder" / "notes.txt").write_text("mine")
    names = {"config.json", "encoder/config.json", MANIFEST, "SHA256SUMS"}
    assert remove_directory(out, names) == ["encoder/notes.txt", MANIFEST]
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    assert left == [MANIFEST, "encoder", "encoder/notes.txt"]


def test_what_is_too_deep_stays(tmp_path: Path) -> None:
    """A tower of directories ends the removal, not the program."""
    os.makedirs(tmp_path / "stage" / "/".join("d" * 900))  # noqa: PTH103  # Path.mkdir is recursive
    (left,) = remove_directory(tmp_path / "stage")
    assert left.endswith("(too deep)")


@pytest.mark.parametrize("kind", ["--bind outside", "-t tmpfs none"])
def test_other_file_systems_stay(tmp_path: Path, kind: str) -> None:
    """A mount point in a stage, of another file system or a bind mount of this one, is left as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    (tmp_path / "stage" / "data").mkdir(parents=True)
    script = (
        f"cd {tmp_path}; mount {kind} stage/data; touch stage/data/precious; {sys.executable} -c '{REMOVE}' stage;"
        " ls stage/data"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(mounting(script), env=env, capture_output=True, text=True, check=False)
    if "unshare" in process.stderr or "mount:" in process.stderr:
        pytest.skip("this system lets nobody mount")
    assert process.stdout == "['data (a mount point)']\nprecious\n", process.stderr
