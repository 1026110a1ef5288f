"""`trials.injection`: what is asked for happens, under strace and with the shim."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptconv.trials.injection import Call, Ended, Fault, Injected, injector_here
from ckptconv.trials.pair import write_pair

STRACE = pytest.param(
    "strace", marks=pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
)


@pytest.fixture(params=[STRACE, "shim"])
def injected(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Injected]:
    """Return a warm process with a checkpoint beside it."""
    write_pair(tmp_path / "source")
    with Injected(request.param, tmp_path) as runs:
        yield runs


@pytest.mark.thorough
def test_the_asked_call_fails(injected: Injected, tmp_path: Path) -> None:
    """An error ends the run with its own message, a signal with its own code; without a fault it succeeds."""
    args = ["split", str(tmp_path / "source"), str(tmp_path / "out"), "--quiet"]
    full = Fault(Call("fsync", 2), "ENOSPC", onwards=False)
    reason = "cannot be written (No space left on device); nothing was published. Free some space and run again."
    assert injected.run(args, full) == Ended(4, f"Error: {tmp_path}/out: {reason}\n")
    assert injected.run(args, Fault(Call("mkdir", 2), "SIGKILL", onwards=False)) == Ended(-9, "")
    term = Fault(Call("mkdir", 1), "SIGTERM", onwards=True)
    assert injected.run(args, term) == Ended(143, "Error: interrupted: nothing was written\n")
    assert injected.run(args) == Ended(0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [
        "decoder",
        "encoder",
    ]


@pytest.mark.thorough
def test_calls_that_write_are_found(injected: Injected, tmp_path: Path) -> None:
    """Directories made, files synced and the last rename are among the calls, each counted from one on."""
    calls = injected.calls(["split", str(tmp_path / "source"), str(tmp_path / "out"), "--quiet"])
    assert {
        Call("mkdir", 1),
        Call("fsync", 1),
        Call("fsync", 2),
        Call("pwrite64", 1),
        Call("renameat2", 1),
    } <= {Call({"pwrite": "pwrite64"}.get(call.name, call.name), call.nth) for call in calls}
    assert Call("mkdir", 99) not in calls


def test_without_strace_there_is_the_shim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without strace gets the other injector."""
    monkeypatch.setenv("PATH", "")
    assert injector_here() == "shim"
