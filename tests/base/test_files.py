"""Files of a checkpoint: regular, and reached by no link that leads out of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import open_source, read_source

SNAPSHOT = "hub/models--org--name/snapshots/0a1b"


def link(root: Path, place: str, target: str) -> Path:
    """Make files that links may lead to, and one link."""
    for name in (
        "secret",
        "model/own",
        "model/deep/own",
        "hub/models--org--name/blobs/c0ffee",
        "hub/models--org--name/blobs/deep/c0ffee",
        "hub/models--org--other/blobs/c0ffee",
        "hub/blobs/c0ffee",
        "hub/models--org--name/refs/main",
        "hub/datasets--org--name/blobs/c0ffee",
        "hub/models--org--name/snapshots/ffff/config.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("content")
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.format(root=root))
    return path


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("model/config.json", "own"),
        ("model/config.json", "deep/own"),
        ("model/config.json", "../model/own"),
        ("model/config.json", "{root}/model/own"),
        (f"{SNAPSHOT}/config.json", "../../blobs/c0ffee"),
        (f"{SNAPSHOT}/config.json", "{root}/hub/models--org--name/blobs/c0ffee"),
        (f"{SNAPSHOT}/encoder/config.json", "../../../blobs/c0ffee"),
    ],
)
def test_links_that_are_followed(tmp_path: Path, place: str, target: str) -> None:
    """Within the file's own folder, and as the hub's cache makes them."""
    assert read_source(link(tmp_path, place, target), 99) == b"content"


def test_a_checkpoint_behind_a_link(tmp_path: Path) -> None:
    """The folder itself may be reached by any way that the user gives."""
    link(tmp_path, f"{SNAPSHOT}/config.json", "../../blobs/c0ffee")
    (tmp_path / "here").symlink_to(SNAPSHOT)
    assert read_source(tmp_path / "here" / "config.json", 99) == b"content"


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("model/config.json", "../secret"),
        ("model/config.json", "{root}/secret"),
        ("model/config.json", "/proc/self/environ"),
        ("model/config.json", "../hub/models--org--name/blobs/c0ffee"),
        ("model/deep/config.json", "../own"),
        (f"{SNAPSHOT}/config.json", "../../../../secret"),
        (f"{SNAPSHOT}/config.json", "../../../models--org--other/blobs/c0ffee"),
        (f"{SNAPSHOT}/config.json", "../../../datasets--org--name/blobs/c0ffee"),
        (f"{SNAPSHOT}/config.json", "../../blobs/deep/c0ffee"),
        (f"{SNAPSHOT}/config.json", "../../refs/main"),
        (f"{SNAPSHOT}/config.json", "../ffff/config.json"),
        (f"{SNAPSHOT}/config.json", "../../blobs/../../../secret"),
        ("hub/snapshots/0a1b/config.json", "../../blobs/c0ffee"),
    ],
)
def test_links_that_are_not(tmp_path: Path, place: str, target: str) -> None:
    """Out of the folder, into another model of the cache, or to another place than its blobs."""
    path = link(tmp_path, place, target)
    with pytest.raises(SourceError) as refusal:
        open_source(path)
    assert str(refusal.value) == (
        f"{path}: is a link that leads out of the checkpoint, which ckptconv does not follow.\n"
        "Where you trust it, put the file itself in its place, or run `ckptconv --follow-links ...`."
    )


def test_a_link_to_a_link_that_leads_out(tmp_path: Path) -> None:
    """What counts is where the last one leads."""
    path = link(tmp_path, "model/config.json", "next")
    (tmp_path / "model" / "next").symlink_to("../secret")
    with pytest.raises(SourceError, match="leads out of the checkpoint"):
        open_source(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "is a pipe, not a file"),
        (Path.mkdir, "is a directory, not a file"),
        (lambda path: None, "cannot be read (No such file or directory)"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read (No such file or directory)"),
        (
            lambda path: path.symlink_to(path.name),
            "cannot be read (Too many levels of symbolic links)",
        ),
        (lambda path: path.symlink_to("."), "is a link that leads out of the checkpoint"),
        (
            lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
            "cannot be read (No such device or address)",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    """A pipe does not make the reader wait; a folder, a socket and a link to nowhere are refused."""
    make(tmp_path / "f")
    with pytest.raises(SourceError) as refusal:
        open_source(tmp_path / "f")
    assert str(refusal.value).startswith(f"{tmp_path}/f: {says}")


def test_a_device() -> None:
    """An endless device is not read."""
    with pytest.raises(SourceError, match="/dev/zero: is a device, not a file"):
        open_source(Path("/dev/zero"))


def test_at_most(tmp_path: Path) -> None:
    """No more is read than is wanted, however long the file is."""
    (tmp_path / "f").write_bytes(bytes(3 << 20))
    assert len(read_source(tmp_path / "f", (2 << 20) + 5)) == (2 << 20) + 5
    assert len(read_source(tmp_path / "f", 9 << 20)) == 3 << 20
