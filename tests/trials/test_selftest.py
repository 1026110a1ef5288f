"""`selftest`: what a user runs, in small, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptconv.base.errors import DestinationError
from ckptconv.trials import selftest as suite
from ckptconv.trials.faults import Sweep, Violation
from ckptconv.trials.injection import Call, Fault
from ckptconv.trials.malformed import Failure, Refusals, refuse_malformed
from ckptconv.trials.report import selftest_json, selftest_text
from ckptconv.trials.selftest import SelfTest, selftest

BROKEN = SelfTest(
    Refusals({"msgpack": 2, "index": 1}, (Failure("depth", "it was converted\nHOLDS"),)),
    Sweep(
        "strace",
        {"pt2tf": 9},
        {"pt2tf": 4},
        1,
        (Violation("pt2tf", Fault(Call("fsync", 2), "EIO", False), "half a file"),),
        3.0,
    ),
    12.4,
)


@pytest.mark.faults
def test_small_run_with_real_files_and_real_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are refused, faults leave the target whole or absent, and the folder is empty after it."""
    monkeypatch.setattr(suite, "POINTS", 6)
    monkeypatch.setattr(suite, "refuse_malformed", lambda: refuse_malformed(("unknown",)))
    report = selftest(faults=True, folder=tmp_path)

    assert report.holds, selftest_text(report)
    assert report.faults is not None
    assert (sum(report.faults.points.values()), report.malformed.counts) == (6, {"unknown": 13})
    assert list(tmp_path.iterdir()) == []
    assert (
        selftest_text(report)
        .splitlines()[-1]
        .startswith("HOLDS: every promise that was tested, in ")
    )


@pytest.mark.thorough
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error with a reason, not a broken promise."""
    monkeypatch.setattr(suite, "refuse_malformed", lambda: refuse_malformed(("unknown",)))
    with pytest.raises(
        DestinationError, match=r"nowhere: cannot be written \(No such file or directory\)"
    ):
        selftest(faults=True, folder=tmp_path / "nowhere")


def test_broken_promises_are_printed() -> None:
    """Counts first, then each broken promise on a line of its own, then the verdict; never a pass for nothing."""
    assert (
        selftest_text(BROKEN)
        == """\
malformed      files
-----------  -------
index              1
msgpack            2
together           3
2 of 3 refused, each for its own reason

faults while      calls that write    faults
--------------  ------------------  --------
pt2tf                            9         4
3 of 4 left the target whole or absent; injected with strace

depth: it was converted\\nHOLDS
pt2tf: EIO at fsync 2: half a file
BROKEN: 2 of these promises, in 12 s"""
    )
    assert not SelfTest(Refusals({}, ()), None, 0.0).holds


def test_json() -> None:
    """The same as an object."""
    assert selftest_json(BROKEN) == {
        "schema": "ckptconv.selftest",
        "schema_version": 1,
        "verdict": "broken",
        "malformed": {
            "counts": {"msgpack": 2, "index": 1},
            "failures": [{"case": "depth", "what": "it was converted\nHOLDS"}],
        },
        "faults": {
            "injector": "strace",
            "calls": {"pt2tf": 9},
            "points": {"pt2tf": 4},
            "published": 1,
            "violations": ["pt2tf: EIO at fsync 2: half a file"],
        },
        "seconds": 12.4,
    }
