"""`publishing.file`: a file is there whole, or as it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.transfer.publish.file import require_place, write_file


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """The text is UTF-8, a link is replaced and not followed, and nothing is left beside it."""
    other = tmp_path / "other"
    other.write_text("kept")
    file = tmp_path / "page"
    file.symlink_to(other)
    write_file(file, "é\n")
    assert (file.read_bytes(), file.is_symlink(), other.read_text()) == (
        "é\n".encode(),
        False,
        "kept",
    )
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other", "page"]


def test_what_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full leaves the old file, and nothing beside it."""
    file = tmp_path / "page"
    file.write_text("old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DestinationError) as caught:
        write_file(file, "new")
    assert str(caught.value) == f"{file}: cannot be written (No space left on device)"
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("page", "old")]


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops the writing, what was begun goes away."""

    def stop(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "page", "new")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory, a folder that is not there, and a file in the way of the folder; a free place is none of them."""
    (tmp_path / "file").write_text("")
    places = {
        tmp_path: f"{tmp_path}: is a directory, not a file to write.",
        tmp_path
        / "no"
        / "page": f"{tmp_path}/no/page: there is no folder {tmp_path}/no; make it first.",
        tmp_path
        / "file"
        / "page": f"{tmp_path}/file/page: there is no folder {tmp_path}/file; make it first.",
    }
    for place, said in places.items():
        with pytest.raises(DestinationError) as caught:
            require_place(place)
        assert str(caught.value) == said
    require_place(tmp_path / "page")
    require_place(tmp_path / "file")
