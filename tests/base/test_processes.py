"""Children of ours: which ckptconv they import, and how their end is told."""

from __future__ import annotations

import signal
from pathlib import Path

import ckptconv
from ckptconv.base.processes import ending, with_own_path


def test_a_child_imports_this_ckptconv_first() -> None:
    """What the user has on PYTHONPATH comes after it, without what is empty, which is the working directory."""
    root = str(Path(ckptconv.__file__).resolve().parents[1])
    assert with_own_path({})["PYTHONPATH"] == root
    assert with_own_path({"PYTHONPATH": "/a::/b:", "X": "1"}) == {
        "PYTHONPATH": f"{root}:/a:/b",
        "X": "1",
    }


def test_an_ending_is_a_signal_or_a_code() -> None:
    """A signal without a name has its number."""
    assert ending(7) == "exit code 7"
    assert ending(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert ending(-signal.SIGKILL) == "killed by SIGKILL, perhaps for lack of memory"
    assert ending(-(signal.SIGRTMIN + 1)) == f"killed by signal {signal.SIGRTMIN + 1}"
