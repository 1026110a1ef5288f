"""`lock`: one run at a time has a target, and what a killed one left is known to be nobody's."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.base.leftovers import new_stage
from ckptconv.transfer.publish.lock import clear, locked
from written import write_output

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
    with locked(target) as lock:
        assert lock.exclusive
        assert names(tmp_path) == [".out.ckptconv-lock"]
        with pytest.raises(DestinationError) as refusal, locked(target):
            pytest.fail("two have it")
        who = f"another run (process {os.getpid()})"
        assert str(refusal.value) == f"{target}: {who} is writing it; it was left as it is."
        with locked(tmp_path / "other") as lock:
            assert lock.exclusive
    assert names(tmp_path) == []


@pytest.mark.thorough
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
    with locked(target) as lock:
        assert lock.exclusive
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
    with locked(tmp_path / "out") as lock:
        assert not lock.exclusive
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path / "out"):
        pytest.fail("the block was entered")


def test_the_parents_are_made(tmp_path: Path) -> None:
    """A target may lie deeper than what exists."""
    with locked(tmp_path / "deep" / "er" / "out"):
        assert names(tmp_path / "deep" / "er") == [".out.ckptconv-lock"]


def record(target: Path, *stages: Path) -> None:
    """Write the lock file of a run that was killed."""
    tokens = [stage.name[-8:] for stage in stages]
    target.with_name(f".{target.name}.ckptconv-lock").write_text("\n".join(["1", *tokens, ""]))


def test_what_is_removed(tmp_path: Path) -> None:
    """Recorded stages of this target go; those of others, and what only looks like one, stay."""
    target = tmp_path / "out"
    stale = [new_stage(target), new_stage(target)]
    kept = [
        tmp_path / ".out2.ckptconv-0123abcd",
        tmp_path / ".out.ckptconv-mine",
        tmp_path / "out.ckptconv-0123abcd",
    ]
    for folder in (*stale, *kept):
        (folder / "part").mkdir(parents=True)
    record(target, *stale, *kept)
    with locked(target) as lock:
        assert clear(lock) == []
    assert names(tmp_path) == sorted(path.name for path in kept)


def test_a_stage_whose_sums_are_half_written(tmp_path: Path) -> None:
    """A run that was stopped there leaves a manifest, and sums that are not its own; all of it goes."""
    stage = write_output(tmp_path / ".out.ckptconv-0123abcd")
    (stage / "SHA256SUMS").write_text("")
    record(tmp_path / "out", stage)
    with locked(tmp_path / "out") as lock:
        assert clear(lock) == []
    assert names(tmp_path) == []


def test_a_stage_that_nobody_recorded(tmp_path: Path) -> None:
    """A planted directory or link with a stage's name is left alone and named; an output of ours, or nothing, goes."""
    target = tmp_path / "out"
    (tmp_path / ".out.ckptconv-00000000").mkdir()
    (tmp_path / ".out.ckptconv-00000000" / "precious").touch()
    (tmp_path / ".out.ckptconv-00000001").symlink_to("/etc")
    (tmp_path / ".out.ckptconv-00000002").write_text("mine")
    (tmp_path / ".out.ckptconv-00000003").mkdir()
    write_output(tmp_path / ".out.ckptconv-00000004")
    planted = [f".out.ckptconv-0000000{number}" for number in range(3)]
    with locked(target) as lock:
        remarks = clear(lock)
    assert names(tmp_path) == planted
    assert [remark.split(":")[0] for remark in remarks] == [
        str(tmp_path / name) for name in planted
    ]
    assert (tmp_path / ".out.ckptconv-00000000" / "precious").exists()


def test_a_stage_that_stays_is_remembered(tmp_path: Path) -> None:
    """The lock file stays with it, so that a later run knows it."""
    target = tmp_path / "out"
    with locked(target) as lock:
        stage = new_stage(target)
        lock.record(stage)
        stage.mkdir()
    assert names(tmp_path) == sorted([".out.ckptconv-lock", stage.name])
    with locked(target) as lock:
        assert clear(lock) == []
    assert names(tmp_path) == []


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_in_the_place_of_the_lock(tmp_path: Path, linked: bool) -> None:
    """What is no lock is not written to: a text, or a hard link to any file."""
    (tmp_path / "text").write_text("precious" if not linked else "1")
    lock = tmp_path / ".out.ckptconv-lock"
    lock.hardlink_to(tmp_path / "text")
    if not linked:
        (tmp_path / "text").unlink()
    with pytest.raises(DestinationError, match="is in the way"), locked(tmp_path / "out"):
        pytest.fail("the block was entered")
    assert lock.read_text() in ("precious", "1")


OLD = ".out.ckptconv-0123abcd-old"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
def test_an_old_target_comes_back(tmp_path: Path, there: bool, recorded: bool) -> None:
    """Where a run was killed between two renames the old target gets its name again; where it has one, it goes."""
    target = tmp_path / "out"
    write_output(tmp_path / OLD)
    (tmp_path / ".out.ckptconv-0123abcd").mkdir()
    if there:
        target.mkdir()
    if recorded:
        record(target, tmp_path / ".out.ckptconv-0123abcd")
    with locked(target) as lock:
        remarks = clear(lock)
    back = f"{target}: was put back, since a run was killed while it replaced it"
    assert (names(tmp_path), remarks) == (["out"], [] if there else [back])
    assert (target / "config.json").exists() is not there


@pytest.mark.parametrize(
    "make",
    [
        lambda old: old.symlink_to("/etc"),
        lambda old: old.write_text("x"),
        lambda old: (old / "src").mkdir(parents=True),
    ],
)
def test_a_planted_old_target_does_not_come_back(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """A link, a file or a stranger's directory with the name of a replaced target is left where it is, and named."""
    make(tmp_path / OLD)
    with locked(tmp_path / "out") as lock:
        (remark,) = clear(lock)
    assert names(tmp_path) == [OLD]
    assert remark.startswith(f"{tmp_path}/{OLD}: has the name of a stage")
