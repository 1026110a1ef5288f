"""`renaming`: a name changes hands in one step, or as near to it as the system can."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from ckptconv.transfer.publish import lock
from ckptconv.transfer.publish.lock import exchange, place


@pytest.fixture(params=["renameat2", "no such call", "no such flag"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run on this system, on one without the call, and on a file system without its flags."""
    if request.param == "no such call":
        monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: object())
    if request.param == "no such flag":
        monkeypatch.setattr(lock, "AT_FDCWD", -100)
        monkeypatch.setattr(lock, "RENAME_NOREPLACE", 1 << 20)
        monkeypatch.setattr(lock, "RENAME_EXCHANGE", 1 << 20)
    return str(request.param)


def folder(path: Path, text: str) -> Path:
    """Make a directory with one file."""
    path.mkdir()
    (path / "file").write_text(text)
    return path


def content(parent: Path) -> dict[str, str]:
    """Return directory -> text of its file."""
    return {path.name: (path / "file").read_text() for path in sorted(parent.iterdir())}


def test_a_free_name(tmp_path: Path, system: str) -> None:
    """The stage has the target's name and no other."""
    place(folder(tmp_path / "stage", "new"), tmp_path / "out")
    assert content(tmp_path) == {"out": "new"}


def test_a_name_that_was_taken_meanwhile(tmp_path: Path, system: str) -> None:
    """Nothing is replaced without being asked for."""
    folder(tmp_path / "out", "other")
    with pytest.raises(OSError) as refused:  # noqa: PT011  # which of the two the code says
        place(folder(tmp_path / "stage", "new"), tmp_path / "out")
    assert refused.value.errno in (errno.EEXIST, errno.ENOTEMPTY)
    assert content(tmp_path) == {"out": "other", "stage": "new"}


def test_an_exchange(tmp_path: Path, system: str) -> None:
    """The new one has the name; the old one lies in its place, or beside it where that took two steps."""
    old = exchange(folder(tmp_path / "stage", "new"), folder(tmp_path / "out", "old"))
    assert old.name == ("stage" if system == "renameat2" else "stage-old")
    assert content(tmp_path) == {"out": "new", old.name: "old"}


def test_an_exchange_that_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second of the two steps fails the old one gets its name back."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: object())
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if source.name == "stage":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="Input/output error"):
        exchange(folder(tmp_path / "stage", "new"), folder(tmp_path / "out", "old"))
    assert content(tmp_path) == {"out": "old", "stage": "new"}
