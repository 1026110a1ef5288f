"""Every call that changes the disk fails or kills in turn; the sweep itself is `ckptconv.trials.faults`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from ckptconv.trials.faults import STEPWISE, USUAL, Sweep, sweep

if TYPE_CHECKING:
    from conftest import Counted

POINTS = int(os.environ.get("CKPTCONV_FAULTS", "720"))
"""Of all scenarios together: 720 strike every call once, fewer some of each name."""
SHIM_POINTS = min(40, max(11, POINTS // 18))
SHARES = {"pt2tf": 0.10, "pt2flax": 0.38, "split": 0.12, "overwrite": 0.40, "no exchange": 0.40}
"""As the scenarios have calls."""
TRIED = (*USUAL, *(pytest.param(name, marks=pytest.mark.soak) for name in STEPWISE))

SHIMMED = (
    "pt2tf",
    *(
        pytest.param(name, marks=pytest.mark.soak)
        for name in (*USUAL, *STEPWISE)
        if name != "pt2tf"
    ),
)
"""`make test` tries them with strace; the shim is the same but for how a call is met."""


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory where there is one: each point waits for a dozen fsyncs, and other tests' too."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def told(found: Sweep) -> str:
    """Say what was tried."""
    (name,) = found.points
    return (
        f"faults: {name}: {found.points[name]} points at {found.calls[name]} calls that write ({found.injector}),"
        f" published after {found.published}, {len(found.violations)} violations"
    )


@pytest.mark.faults
@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed; the shim's sweep runs"
)
@pytest.mark.parametrize("scenario", TRIED)
def test_whole_or_absent(scratch: Path, scenario: str, counted: Counted) -> None:
    """After KILL, INT, TERM, ENOSPC and EIO, once or from then on: no half output, no false word, the way is free."""
    points = round(POINTS * SHARES[scenario])
    report = sweep(scratch / "sweep", points, scenarios=[scenario], jobs=1, injector="strace")
    counted(told(report))
    assert [str(violation) for violation in report.violations] == []
    assert min(points, report.calls[scenario]) <= report.points[scenario] <= points
    assert report.published < report.points[scenario] / 2  # the others were struck before the end


@pytest.mark.faults
@pytest.mark.parametrize("scenario", SHIMMED)
def test_without_strace(scratch: Path, scenario: str, counted: Counted) -> None:
    """The same with faults between Python and the system, as on a machine that has no strace."""
    report = sweep(scratch / "sweep", SHIM_POINTS, scenarios=[scenario], jobs=1, injector="shim")
    counted(told(report))
    assert [str(violation) for violation in report.violations] == []
    assert report.points[scenario] == SHIM_POINTS
