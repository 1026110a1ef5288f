"""`publishing.file`: a file is there whole, or as it was."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.transfer.publish.stage import require_place, write_file
from written import as_nobody


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """The text is UTF-8, the mode stays, a new file has the umask's, and nothing is left beside it."""
    page = tmp_path / "page"
    page.write_text("old")
    page.chmod(0o640)
    write_file(page, "é\n")
    write_file(tmp_path / "new", "")
    (tmp_path / "plain").touch()
    assert page.read_bytes() == "é\n".encode()
    assert stat.S_IMODE(page.stat().st_mode) == 0o640
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "page", "plain"]


def test_another_owners_file_stays_his(tmp_path: Path) -> None:
    """Where root writes a report of somebody else's, he can still read it."""
    if os.geteuid():
        pytest.skip("only root can give a file away")
    page = tmp_path / "page"
    page.touch(0o600)
    os.chown(page, 65534, 65534)
    write_file(page, "new")
    status = page.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65534, 0o600)


def test_a_link_is_followed(tmp_path: Path) -> None:
    """What it leads to is replaced, and the link stays; one that leads nowhere is refused."""
    (tmp_path / "pages").mkdir()
    page, link = tmp_path / "pages" / "page", tmp_path / "latest"
    page.write_text("old")
    link.symlink_to("pages/page")
    write_file(link, "new")
    assert (page.read_text(), link.is_symlink()) == ("new", True)
    page.unlink()
    with pytest.raises(DestinationError, match="is a link that leads nowhere"):
        write_file(link, "new")


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    """Its reader gets the text, and it is a pipe afterwards."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        require_place(pipe)
        write_file(pipe, "text")
        assert reader.communicate()[0] == "text"
    assert pipe.is_fifo()


def test_a_device_is_written_through(tmp_path: Path) -> None:
    """The null device is one afterwards; one that is full says so."""
    before = Path(os.devnull).stat().st_rdev
    write_file(Path(os.devnull), "text")
    assert Path(os.devnull).stat().st_rdev == before
    with pytest.raises(DestinationError, match="No space left on device"):
        write_file(Path("/dev/full"), "text")


def test_a_private_device_is_not_replaced(tmp_path: Path) -> None:
    """Nor is one that root could rename over."""
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
        (tmp_path / "null").write_text("may it be opened?")
    except OSError:
        pytest.skip("this system lets nobody make a device here")
    write_file(tmp_path / "null", "text")
    assert (tmp_path / "null").is_char_device()
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


def test_what_cannot_be_written_like_a_file(tmp_path: Path) -> None:
    """A socket and a block device are refused before the work."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    with pytest.raises(DestinationError, match="is a socket"):
        require_place(tmp_path / "socket")
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):
            os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
            with pytest.raises(DestinationError, match="is a block device"):
                require_place(tmp_path / "disk")


WRITE = """
from ckptconv.base.errors import DestinationError
from ckptconv.transfer.publish.stage import write_file
become_nobody()
for name in sys.argv[1:]:
    try:
        write_file(Path(name), "new")
        print("written")
    except DestinationError as error:
        print(error)
"""


def test_what_somebody_else_may_write(tmp_path: Path) -> None:
    """A read-only file is refused; a writable one in a folder that is not keeps its place and is written."""
    locked, free = tmp_path / "locked", tmp_path / "free"
    for file, mode in ((locked, 0o444), (free, 0o666)):
        file.write_text("old")
        file.chmod(mode)
    assert as_nobody(WRITE, locked, free).splitlines() == [
        f"{locked}: cannot be written (Permission denied)",
        "written",
    ]
    assert (locked.read_text(), free.read_text()) == ("old", "new")


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
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page", "old")]


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
        / "page": f"{tmp_path}/no/page: the directory {tmp_path}/no does not exist; create it first.",
        tmp_path
        / "file"
        / "page": f"{tmp_path}/file/page: the directory {tmp_path}/file does not exist; create it first.",
    }
    for place, said in places.items():
        with pytest.raises(DestinationError) as caught:
            require_place(place)
        assert str(caught.value) == said
    require_place(tmp_path / "page")
    require_place(tmp_path / "file")
