"""The peak of this process's memory."""

from __future__ import annotations

import sys

import pytest

from ckptconv.trials.memory import Peak

MIB = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_peak() -> None:
    """What was taken and given back counts until it is forgotten."""
    with Peak() as peak:
        before = peak.nbytes
        held = b"1" * (64 * MIB)
        assert peak.nbytes >= before + 60 * MIB
        del held
        assert peak.nbytes >= before + 60 * MIB
        peak.forget()
        assert peak.nbytes < before + 30 * MIB
