"""The process that reads HDF5: one for many files, bounded, and its end is a refusal of the file alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.base.files import limited
from ckptconv.stores.formats import hdf5 as process
from ckptconv.stores.formats.hdf5 import create, read
from ckptconv.stores.tensor import TensorSpec


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a file of one tensor."""
    create(tmp_path / "w", [TensorSpec("m", "float32", (3,))], "tf", True)
    return tmp_path / "w"


@pytest.fixture
def fresh() -> Iterator[None]:
    """End the process before and after a test."""
    process._SERVER.stop()
    yield
    process._SERVER.stop()


def pid() -> int:
    """Return the process's number."""
    assert process._SERVER.process
    return process._SERVER.process.pid


def test_one_process_reads_many_files(weights: Path, tmp_path: Path) -> None:
    """A refusal ends nothing: the next file is read by the same process."""
    read(weights)
    first = pid()
    (tmp_path / "bad").write_bytes(weights.read_bytes()[:200])
    with pytest.raises(SourceError, match="not a readable HDF5 file"):
        read(tmp_path / "bad")
    assert list(read(weights).tensors) == ["m"]
    assert pid() == first


@pytest.mark.thorough
def test_a_process_that_was_killed_is_started_anew(weights: Path) -> None:
    """Whoever ends the process ends one reading at most."""
    read(weights)
    os.kill(first := pid(), signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert list(read(weights).tensors) == ["m"]
    assert pid() != first


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "the HDF5 library failed on it (SIGSEGV)",
        ),
        ("import os; os.abort()", "the HDF5 library failed on it (SIGABRT)"),
        (
            "while True: pass",
            "more than 1 s of CPU time; `ckptconv --limit hdf5_seconds=N` allows more",
        ),
        (
            "raise Refused(str([resource.getrlimit(getattr(resource, f'RLIMIT_{one}'))"
            " for one in ('AS', 'CPU', 'NOFILE')]))",
            "/bad: [(2147483648, 2147483648), (1, 2), (0, 0)]",
        ),
        ("raise SystemExit(7)", "the HDF5 library failed on it (exit code 7)"),
        (
            "bytearray(1 << 33)",
            "needs more than 2147483648 bytes to read; --limit hdf5_bytes=N allows more",
        ),
        (
            "open('/etc/hostname')",
            "not a readable HDF5 file of weights ([Errno 24] Too many open files",
        ),
        (
            "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
            "the process that reads HDF5 stopped (it ended); the file may be damaged",
        ),
    ],
)
def test_how_a_library_may_end(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh: None,
    code: str,
    says: str,
) -> None:
    """A crash, a hang, a leak, another file: each is a refusal of the file with its reason, and the next is read."""
    broken = tmp_path / "broken.py"
    planted = f"        if request['path'].endswith('bad'): exec({code!r})\n"
    where = "        if file.get_create_plist()"
    source = process.SCRIPT.read_text()
    assert source.count(where) == 1
    broken.write_text(source.replace(where, planted + where))
    (tmp_path / "bad").write_bytes(weights.read_bytes())
    monkeypatch.setattr(process, "SCRIPT", broken)
    with limited(hdf5_seconds=1), pytest.raises(SourceError) as refusal:
        read(tmp_path / "bad")
    assert says in str(refusal.value)
    assert list(read(weights).tensors) == ["m"]


@pytest.mark.thorough
def test_nothing_is_left_when_the_parent_is_killed(weights: Path) -> None:
    """The process ends with the one that it works for, even if that had no time to say so."""
    script = (
        "import os, pathlib, signal, sys\n"
        "from ckptconv.stores.formats import hdf5\n"
        "hdf5.read(pathlib.Path(sys.argv[1]))\n"
        "print(hdf5._SERVER.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(weights)], capture_output=True, text=True, check=False
    )
    until = time.monotonic() + 20
    while Path(f"/proc/{int(done.stdout)}/cmdline").exists() and time.monotonic() < until:
        if not Path(
            f"/proc/{int(done.stdout)}/cmdline"
        ).read_bytes():  # a zombie that nobody reaps in a container
            break
        time.sleep(0.02)
    assert time.monotonic() < until


@pytest.mark.thorough
def test_a_fork_has_a_process_of_its_own(weights: Path, fresh: None) -> None:
    """Two processes never share the pipes of one, and a fork that ends leaves the other's alone."""
    read(weights)
    first = pid()
    child = os.fork()
    if child == 0:
        try:
            ok = list(read(weights).tensors) == ["m"] and pid() != first
            process._SERVER.stop()
        except BaseException:
            ok = False
        os._exit(not ok)
    assert os.waitpid(child, 0)[1] == 0
    assert list(read(weights).tensors) == ["m"]
    assert pid() == first


@pytest.mark.thorough
def test_an_answer_that_does_not_come(
    weights: Path, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    """A process that stands still is ended after the time that limits give; nothing is left of it."""
    read(weights)
    stopped = pid()
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr(process, "START_SECONDS", 0)
    with (
        limited(hdf5_seconds=0),
        pytest.raises(SourceError, match="no answer in time"),
    ):
        read(weights)
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


def test_another_file_in_its_place(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process opened must be what the parent opened."""
    answer = process.ask(weights)
    monkeypatch.setattr(process, "ask", lambda path: answer | {"file": [0, 0]})
    with pytest.raises(SourceError, match="was replaced while it was read"):
        read(weights)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (["", "m", "float32", [3], -1, 12], "invalid shape or offset"),
        (["", "m", "float32", [3], 0, 12], "shares bytes with something else"),
        (["", "m", "float32", [3], 1 << 40, 12], "cut short: its data ends at byte 1099511627788"),
        (["", "m", "float32", [4], 100, 12], "takes 16 bytes, the file gives 12"),
        (["", "m", "float32", [1] * 33, 100, 4], "invalid shape or offset"),
        (["", "m", "float32", [True], 100, 4], "invalid shape or offset"),
        (["", "m", "float32"], process.NONSENSE),
        (["", "m", "object", [3], 100, 12], process.NONSENSE),
        (["", "m", ["float32"], [3], 100, 12], process.NONSENSE),
        (["", 7, "float32", [3], 100, 12], process.NONSENSE),
        (["", "m", "float32", None, 100, 12], process.NONSENSE),
        (7, process.NONSENSE),
        (
            ["", "\x1b", "float32", [3], 100, 12],
            "the name '\\x1b' holds a character that does not print",
        ),
    ],
)
def test_answers_are_not_trusted(
    weights: Path, monkeypatch: pytest.MonkeyPatch, place: object, says: str
) -> None:
    """A place outside of the file, or one that does not fit its shape, is refused whoever says it."""
    answer = process.ask(weights)
    monkeypatch.setattr(process, "ask", lambda path: answer | {"tensors": [place]})
    with pytest.raises(SourceError) as refusal:
        read(weights)
    assert says in str(refusal.value)
