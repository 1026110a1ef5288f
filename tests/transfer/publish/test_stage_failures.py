"""`publish` where the system refuses or interrupts: no room, no permission, a limit, a signal; nothing is left."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.transfer import loop, segments
from ckptconv.transfer.publish import stage as publish
from ckptconv.transfer.publish.stage import published

if TYPE_CHECKING:
    from conftest import Cli, Pair

ROOT = Path(__file__).parents[3]
SLOW = """
import os, time
from ckptconv.transfer import segments as transfer
from ckptconv.cli.main import main
real = transfer.write_at
def slow(*args):
    real(*args)
    os.write(1, b"writing\\n")
    time.sleep(0.2)
transfer.write_at = slow
main()
"""
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
from ckptconv.cli.main import main
main()
"""


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is said before the first byte."""
    monkeypatch.setattr(
        publish.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 93, 7)
    )
    with (
        pytest.raises(DestinationError) as refusal,
        published(tmp_path / "a" / "out", overwrite=False, needs=8),
    ):
        pytest.fail("the block was entered")
    assert (
        str(refusal.value)
        == f"{tmp_path}/a: needs 8 bytes, the disk has 7 free; nothing was written."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_parent_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A read-only file system and a directory of somebody else are said in the system's words."""
    real = os.open

    def refuse(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DestinationError) as refusal, published(tmp_path / "out", overwrite=False):
        pytest.fail("the block was entered")
    why = f"cannot be written ({os.strerror(code)}); nothing was published."
    assert (str(refusal.value), list(tmp_path.iterdir())) == (f"{tmp_path}/out: {why}", [])


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["split", "pt2tf", "pt2flax"])
def test_a_disk_that_fills_up(
    cli: Cli, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A write that finds no space ends the run with exit code 4 and nothing but the source."""
    real, calls = os.pwrite, []

    def full(fd: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    source = pair.write(tmp_path / "source")
    monkeypatch.setattr(os, "pwrite", full)
    for module in (segments, loop):
        monkeypatch.setattr(module, "SEGMENT_BYTES", 64)
    outcome = cli(verb, source, tmp_path / "deep" / "out")
    reason = "cannot be written (No space left on device); nothing was published. Free some space and run again."
    assert (outcome.code, outcome.out, outcome.err.splitlines()[-1]) == (
        4,
        "",
        f"Error: {tmp_path}/deep/out: {reason}",
    )
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.thorough
@pytest.mark.parametrize("verb", ["split", "pt2tf", "pt2flax"])
def test_a_real_limit_on_file_size(dates: Path, tmp_path: Path, verb: str) -> None:
    """The system refuses bytes for real: exit code 4, a message, and nothing left."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIMITED, verb, str(dates), str(tmp_path / "deep" / "out")]
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, list(tmp_path.iterdir())) == (4, "", [])
    assert process.stderr.startswith(f"Error: {tmp_path}/deep/out: cannot be written (")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("verb", "number"),
    [
        ("split", signal.SIGTERM),
        ("pt2tf", signal.SIGINT),
        ("pt2flax", signal.SIGHUP),
        ("pt2flax", signal.SIGKILL),
    ],
)
def test_a_signal_in_the_middle(
    cli: Cli, pair: Pair, tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    """A signal while bytes are written leaves nothing; after SIGKILL the target is absent and the way is free."""
    source, target = pair.write(tmp_path / "source"), tmp_path / "deep" / "out"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SLOW, verb, str(source), str(target)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert (process.returncode, err, target.exists()) == (-9, "", False)
    else:
        assert (process.returncode, list(tmp_path.iterdir())) == (128 + number, [source])
        assert err.splitlines()[-1:] == ["Error: interrupted: nothing was written"]
        assert "Traceback" not in err
    assert cli(verb, source, target).code == 0
