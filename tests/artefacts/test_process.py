"""The child of an export: what it says of a disk that takes no more, and that it leaves nothing when it is alone."""

from __future__ import annotations

import errno
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from ckptconv.artefacts.__main__ import SCRATCH, unwritable, why_full
from ckptconv.base.processes import module_command, with_own_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_however_a_library_says_it(number: int) -> None:
    """By the system's own words, in an OSError or in the midst of what TF makes of it; not so another error."""
    words = os.strerror(number)
    assert why_full(str(OSError(number, words))) == words
    assert why_full(f"ResourceExhaustedError: a/b.tempstate5; {words} [Op:SaveV2]") == words
    assert why_full(str(OSError(errno.EACCES, os.strerror(errno.EACCES)))) == ""


@pytest.mark.parametrize("is_temporary", [True, False])
def test_the_disk_that_an_error_names_is_the_full_one(is_temporary: bool, tmp_path: Path) -> None:
    """Whichever of the two has more room."""
    stage, folder = tmp_path / "stage", tmp_path / "folder"
    for place in (stage, folder):
        place.mkdir()
    file = (folder if is_temporary else stage) / "model.onnx"
    failure = unwritable("no space", f"cannot write {file}: no space", stage, folder)
    assert failure["temporary"] is is_temporary


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("torch") is None, reason="without PyTorch the child ends at once")
@pytest.mark.parametrize(("name", "stays"), [(f"{SCRATCH}job", False), ("mine", True)])
def test_a_child_without_its_parent_removes_its_folder(
    name: str, stays: bool, tmp_path: Path
) -> None:
    """When its stdin closes; never a folder of another name."""
    (tmp_path / name).mkdir()
    process = subprocess.Popen(
        module_command("ckptconv.artefacts", str(tmp_path / name)),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=with_own_path(os.environ),
    )
    assert process.wait(timeout=60) == 1
    assert (tmp_path / name).exists() is stays
