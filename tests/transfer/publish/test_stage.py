"""`publish`: an output directory exists whole, or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import DestinationError, SourceError
from ckptconv.transfer.manifest import SUMS
from ckptconv.transfer.publish import lock
from ckptconv.transfer.publish.stage import published
from written import write_output

if TYPE_CHECKING:
    from conftest import Cli


def content(folder: Path) -> dict[str, str]:
    """Return every path below a folder, with the hash of a file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def old_checkpoint(folder: Path) -> Path:
    """Make what an earlier run may have left."""
    return write_output(folder, {"config.json": "old", "old.bin": "old"})


@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, supported: bool
) -> None:
    """The target appears at the end of the block, with what was written; also where renameat2 is not there."""
    if not supported:
        monkeypatch.setattr(lock.ctypes, "CDLL", lambda *args, **more: object())
    target = tmp_path / "out"
    if overwrite:
        old_checkpoint(target)
    before = content(tmp_path)
    with published(target, overwrite=overwrite) as stage:
        (stage / "part").mkdir()
        (stage / "part" / "new.bin").write_text("new")
        assert {
            name: hashed for name, hashed in content(tmp_path).items() if name in before
        } == before
        assert target.exists() is overwrite
    assert sorted(content(tmp_path)) == ["out", "out/part", "out/part/new.bin"]


def test_durable_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory is on the disk before the rename, and the parent's entry after it."""
    target, seen = tmp_path / "out", []

    def fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        seen.append(
            (target.exists(), "/".join(path.relative_to(tmp_path).parts[1:]) or path.name[:4])
        )

    monkeypatch.setattr(os, "fsync", fsync)
    with published(target, overwrite=False) as stage:
        (stage / "part").mkdir()
        (stage / "part" / "new.bin").write_text("new")
        (stage / "config.json").write_text("{}")
    assert seen[:2] == [(False, "part/new.bin"), (False, "part")]
    assert seen[2:] == [(False, "config.json"), (False, ".out"), (True, tmp_path.name[:4])]


def test_new_parents_are_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where parents were made for the target, the entry of each is on the disk."""
    steps: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: steps.append(Path(f"/proc/self/fd/{fd}").readlink())
    )
    with published(tmp_path / "deep" / "er" / "out", overwrite=False):
        pass
    assert steps[1:] == [tmp_path / "deep" / "er", tmp_path / "deep", tmp_path]


@pytest.mark.parametrize("overwrite", [True, False])
def test_the_last_fsync_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """A rename that the system does not confirm is an error that says that the target is there."""
    target, real = tmp_path / "out", os.fsync
    if overwrite:
        old_checkpoint(target)

    def fsync(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink() == tmp_path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with (
        pytest.raises(DestinationError) as failure,
        published(target, overwrite=overwrite) as stage,
    ):
        (stage / "new.bin").write_text("new")
    assert str(failure.value) == (
        f"{target}: is published and whole, but the system would not confirm that it is on the disk"
        " (Input/output error). Run sync, and check the disk."
    )
    assert sorted(content(tmp_path)) == ["out", "out/new.bin"]


def test_a_stale_stage_goes(tmp_path: Path) -> None:
    """What a killed run of the same target left is removed by the next one, whatever comes of it."""
    stale = tmp_path / ".out.ckptconv-0123abcd"
    stale.mkdir()
    (stale / "half.bin").write_text("half")
    (tmp_path / ".out.ckptconv-lock").write_text("1\n0123abcd\n")
    with pytest.raises(ValueError, match="any"), published(tmp_path / "out", overwrite=False):
        raise ValueError("any")
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_cannot_be_read_back(tmp_path: Path) -> None:
    """What this run wrote and cannot read is the destination's fault, and is named without the hidden directory."""
    with (
        pytest.raises(DestinationError) as failure,
        published(tmp_path / "out", overwrite=False) as stage,
    ):
        raise SourceError(f"{stage}/tf_model.h5: cannot be read (Input/output error)")
    assert str(failure.value) == (
        "what was written cannot be read back; nothing was published.\ntf_model.h5: cannot be read (Input/output error)"
    )
    with pytest.raises(SourceError), published(tmp_path / "out", overwrite=False):
        raise SourceError("elsewhere: cannot be read")


def test_a_published_directory_is_like_any_other(tmp_path: Path) -> None:
    """Its permissions are those that the user's umask gives."""
    (tmp_path / "plain").mkdir()
    with published(tmp_path / "out", overwrite=False):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), ValueError("any"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_not_at_all(tmp_path: Path, error: BaseException, overwrite: bool) -> None:
    """After any error the target is as it was, and the parents that were made are gone."""
    target = old_checkpoint(tmp_path / "out") if overwrite else tmp_path / "deep" / "er" / "out"
    before = content(tmp_path)
    expected = DestinationError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with published(target, overwrite=overwrite) as stage:
            (stage / "new.bin").write_text("new")
            raise error

    with pytest.raises(expected) as raised:
        fail()
    assert content(tmp_path) == before
    if expected is DestinationError:
        why = "cannot be written (Input/output error); nothing was published."
        assert str(raised.value) == f"{target}: {why}"


def test_a_target_that_appears_meanwhile(tmp_path: Path) -> None:
    """Someone else's directory of the same name is left as it is."""

    def race() -> None:
        with published(tmp_path / "out", overwrite=False):
            old_checkpoint(tmp_path / "out")

    with pytest.raises(DestinationError) as refusal:
        race()
    assert (
        str(refusal.value)
        == f"{tmp_path}/out: appeared while this run was under way; it was left as it is."
    )
    assert sorted(content(tmp_path / "out")) == [SUMS, "ckptconv.json", "config.json", "old.bin"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda path: path.write_text("mine"),
            "is not a directory; --overwrite replaces only a directory that",
        ),
        (
            lambda path: path.symlink_to("old"),
            "is a link; --overwrite replaces only a directory that",
        ),
        (
            lambda path: (path / "mine").mkdir(parents=True),
            "has no ckptconv.json, so --overwrite leaves it alone",
        ),
    ],
)
def test_what_overwrite_leaves_alone(tmp_path: Path, make: object, reason: str) -> None:
    """A file, a link and a directory that no run of ours made are refused before anything is written."""
    old_checkpoint(tmp_path / "old")
    make(tmp_path / "out")  # type: ignore[operator]
    before = content(tmp_path)
    with pytest.raises(DestinationError) as refusal, published(tmp_path / "out", overwrite=True):
        pytest.fail("the block was entered")
    assert str(refusal.value).startswith(f"{tmp_path}/out: {reason}")
    assert content(tmp_path) == before


def test_a_foreign_file_that_appears_meanwhile(tmp_path: Path) -> None:
    """What somebody puts into the old output while the new one is written is not lost: nothing is replaced."""
    target = old_checkpoint(tmp_path / "out")

    def race() -> None:
        with published(target, overwrite=True) as stage:
            (stage / "new.bin").write_text("new")
            (target / "notes.txt").write_text("mine")

    with pytest.raises(DestinationError, match=r"notes\.txt"):
        race()
    assert sorted(content(tmp_path / "out")) == [
        SUMS,
        "ckptconv.json",
        "config.json",
        "notes.txt",
        "old.bin",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not let the old output go, the run succeeds and says where it lies."""
    target, real = old_checkpoint(tmp_path / "out"), os.unlink
    remarks: list[str] = []

    def unlink(path: str, *, dir_fd: int | None = None) -> None:
        if path == "old.bin":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    with published(target, overwrite=True, remarks=remarks) as stage:
        (stage / "new.bin").write_text("new")
    assert sorted(content(target)) == ["new.bin"]
    (left,) = tmp_path.glob(".out.ckptconv-????????")
    assert remarks == [
        f"{left}: could not be removed whole; there stays old.bin (Operation not permitted), ckptconv.json"
    ]
    assert sorted(content(left)) == ["ckptconv.json", "old.bin"]


def test_the_replacement_of_another_output_was_interrupted(tmp_path: Path) -> None:
    """Any run in the directory says where the old and the new one lie, and how the old one comes back."""
    old = write_output(tmp_path / ".a b.ckptconv-0123abcd-old")
    write_output(tmp_path / ".a b.ckptconv-0123abcd")
    (tmp_path / ".evil.ckptconv-00000000-old").symlink_to("/etc")
    remarks: list[str] = []
    with published(tmp_path / "out", overwrite=False, remarks=remarks):
        pass
    lost, planted = remarks
    assert lost.startswith(
        f"{tmp_path}/a b: is missing, since a run was killed while it replaced it: the old one is"
    )
    assert planted.endswith("is no directory; it was left alone")
    subprocess.run(lost.rpartition(": ")[2], shell=True, check=True)
    assert (tmp_path / "a b" / "config.json").exists()
    assert not old.exists()


def test_an_empty_directory_may_be_overwritten(tmp_path: Path) -> None:
    """`mkdir out` and then `--overwrite` is no harm."""
    (tmp_path / "out").mkdir()
    with published(tmp_path / "out", overwrite=True) as stage:
        (stage / "new.bin").write_text("new")
    assert sorted(content(tmp_path)) == ["out", "out/new.bin"]


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["split", "pt2tf", "pt2flax"])
@pytest.mark.parametrize("more", [[], ["--max-shard-size", "200kB", "--dtype", "bfloat16"]])
def test_the_same_bytes_every_time(
    cli: Cli, dates: Path, tmp_path: Path, verb: str, more: list[str]
) -> None:
    """Two runs give the same files, byte for byte."""
    for name in ("one", "two"):
        assert cli(verb, dates, tmp_path / name, *more).code == 0
    assert content(tmp_path / "one") == content(tmp_path / "two") != {}
