"""Presence: what lies nowhere is absent, and what mkfs makes at the root of a disk is no part of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.presence import (
    files_below,
    is_file,
    is_folder,
    is_link,
    lies_at,
    names_in,
    reading,
    status_of,
)
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.companions import companions
from ckptconv.trials.pair import write_pair

ABSENT = ("absent", "file/below", "x" * 300, "nul\0l", "itself/below")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with a file and a link to itself."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "itself").symlink_to("itself")
    return tmp_path


@pytest.mark.parametrize("name", ABSENT)
def test_what_can_lie_nowhere_is_absent(folder: Path, name: str) -> None:
    """A name below a file, one that is too long, one with a null character and one below a link to itself."""
    path = folder / name
    assert status_of(path) is None
    assert not any(ask(path) for ask in (lies_at, is_file, is_folder, is_link, names_in))


def test_a_link_to_itself_is_a_link(folder: Path) -> None:
    """It lies there and leads nowhere."""
    itself = folder / "itself"
    assert lies_at(itself)
    assert is_link(itself)
    assert not is_file(itself)
    assert not is_folder(itself)


def test_a_checkpoint_may_lie_at_the_root_of_a_disk(tmp_path: Path) -> None:
    """`lost+found`, which root alone may enter, is not looked into; a volume of Kubernetes has it."""
    checkpoint = write_pair(tmp_path / "checkpoint")
    before = (companions(checkpoint), files_below(checkpoint))
    (checkpoint / "lost+found").mkdir()
    (checkpoint / "lost+found" / "vocab.txt").write_text("of a file that fsck found")
    assert (companions(checkpoint), files_below(checkpoint)) == before
    assert open_checkpoint(checkpoint).weights.tensors


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("not seekable"), "not seekable"),
        (OSError(), "OSError"),
    ],
)
def test_why_a_file_cannot_be_read(error: OSError, why: str) -> None:
    """The reason is the system's, or the words of the library that raised without one; it is never `None`."""
    with pytest.raises(SourceError, match=rf"^file: cannot be read \({why}\)$"), reading("file"):
        raise error
