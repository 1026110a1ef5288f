"""`selftest`: do ckptconv's promises hold on this machine, this file system, these versions?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ckptconv.base.errors import DestinationError
from ckptconv.base.results import Result
from ckptconv.trials.faults import Sweep, sweep
from ckptconv.trials.malformed import Refusals, refuse_malformed

POINTS = 150
"""Faults that a self-test injects: every kind of call is struck, within half a minute. `make test` injects more."""


@dataclass(frozen=True, slots=True, repr=False)
class SelfTest(Result):
    """What came of a self-test."""

    malformed: Refusals
    faults: Sweep | None
    """None where they were not asked for."""
    seconds: float

    @property
    def holds(self) -> bool:
        """True where every file was refused as it should be, and every fault left a target whole or absent."""
        return self.malformed.holds and (self.faults is None or self.faults.holds)


def selftest(*, faults: bool = False, folder: str | Path | None = None) -> SelfTest:
    """Try every malformed file of the corpus, and with `faults` let writing fail in every way.

    Args: faults: also let system calls fail, and kill conversions. folder: an existing directory on the file
    system to test; None takes the one for temporary files.
    Raises: DestinationError: nothing can be written there.
    """
    began = time.monotonic()
    malformed = refuse_malformed()
    swept = None
    if faults:
        try:
            with TemporaryDirectory(prefix="ckptconv-selftest-", dir=folder) as scratch:
                swept = sweep(Path(scratch) / "sweep", POINTS)
        except OSError as error:
            raise DestinationError(
                f"{folder or 'temporary files'}: cannot be written ({error.strerror})"
            ) from None
    return SelfTest(malformed, swept, time.monotonic() - began)
