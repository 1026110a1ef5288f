"""`lock`: one run at a time has a target, and what a killed one left is known to be nobody's."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.transfer.publish.lock import clear, locked, new_stage

pytestmark = pytest.mark.thorough

HOLDER = """
import sys, time
from pathlib import Path
from ckptconv.transfer.publish.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def names(folder: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in folder.iterdir())


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second run is refused with the first one's process number; other targets are free."""
    target = tmp_path / "out"
    with locked(target) as exclusive:
        assert exclusive
        assert names(tmp_path) == [".out.ckptconv-lock"]
        with pytest.raises(DestinationError) as refusal, locked(target):
            pytest.fail("two have it")
        who = f"another run (process {os.getpid()})"
        assert str(refusal.value) == f"{target}: {who} is writing it; it was left as it is."
        with locked(tmp_path / "other") as other:
            assert other
    assert names(tmp_path) == []


def test_the_kernel_lets_go(tmp_path: Path) -> None:
    """A holder that is killed holds nothing; its file is taken over and removed."""
    target = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(target)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(DestinationError, match=rf"another run \(process {holder.pid}\)"),
            locked(target),
        ):
            pytest.fail("two have it")
        holder.send_signal(signal.SIGKILL)
    assert names(tmp_path) == [".out.ckptconv-lock"]
    with locked(target) as exclusive:
        assert exclusive
    assert names(tmp_path) == []


def test_a_file_that_was_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a file that its holder has just removed is no lock: another is made."""
    target, real, calls = tmp_path / "out", fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        if not calls:
            (tmp_path / ".out.ckptconv-lock").unlink()
        calls.append(fd)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(target):
        assert names(tmp_path) == [".out.ckptconv-lock"]
    assert len(calls) == 2


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the run goes on, and says that it has the target not for itself; another error is raised."""

    def flock(fd: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    code = errno.ENOLCK
    with locked(tmp_path / "out") as exclusive:
        assert not exclusive
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path / "out"):
        pytest.fail("the block was entered")


def test_the_parents_are_made(tmp_path: Path) -> None:
    """A target may lie deeper than what exists."""
    with locked(tmp_path / "deep" / "er" / "out"):
        assert names(tmp_path / "deep" / "er") == [".out.ckptconv-lock"]


def test_what_is_removed(tmp_path: Path) -> None:
    """Stages of this very target go; those of others, and what only looks like one, stay."""
    target = tmp_path / "out"
    stale = [new_stage(target), new_stage(target)]
    kept = [
        tmp_path / ".out2.ckptconv-0123abcd",
        tmp_path / ".out.ckptconv-mine",
        tmp_path / "out.ckptconv-0123abcd",
    ]
    for folder in (*stale, *kept):
        (folder / "part").mkdir(parents=True)
    clear(target)
    assert names(tmp_path) == sorted(path.name for path in kept)


@pytest.mark.parametrize("there", [True, False])
def test_an_old_target_comes_back(tmp_path: Path, there: bool) -> None:
    """Where a run was killed between two renames the old target gets its name again; where it has one, it goes."""
    target = tmp_path / "out"
    aside = tmp_path / ".out.ckptconv-0123abcd-old"
    aside.mkdir()
    (aside / "old").write_text("old")
    (tmp_path / ".out.ckptconv-0123abcd").mkdir()
    if there:
        target.mkdir()
    clear(target)
    assert names(tmp_path) == ["out"]
    assert names(target) == ([] if there else ["old"])
