"""Every malformed checkpoint of the corpus through the real conversion: each is refused, for its own reason.

Of each case is required: a SourceError (exit 3) that says what `Case.says` says, within 3 s of CPU time and
200 MiB, and no import, no code, no process but the reader's own, no socket, no file opened outside of it,
nothing written.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from ckptconv.trials.trial import WALL_SECONDS, corpus

CHILDREN = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that was not refused as it should be."""

    case: str
    what: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """What became of the corpus."""

    counts: Mapping[str, int]
    """Format -> cases tried."""
    failures: tuple[Failure, ...]

    @property
    def tried(self) -> int:
        """Number of cases."""
        return sum(self.counts.values())

    @property
    def holds(self) -> bool:
        """True where every case was refused; never for nothing tried."""
        return self.tried > 0 and not self.failures


def refuse_malformed(formats: Sequence[str] = ()) -> Refusals:
    """Try all cases, or those of some formats (names of the modules in `corpus/`), in child processes.

    A child that dies is the failure of the case that it was at; another one takes the rest.
    """
    chosen = {form: cases for form, cases in corpus().items() if not formats or form in formats}
    form_of = {case.name: form for form, cases in chosen.items() for case in cases}
    shares = [list(form_of)[start::CHILDREN] for start in range(CHILDREN)]
    with ThreadPoolExecutor(CHILDREN) as pool:
        failures = [failure for share in pool.map(_failures, shares) for failure in share]
    return Refusals(Counter(form_of.values()), tuple(failures))


def _failures(waiting: Sequence[str]) -> list[Failure]:
    """Try cases in one child, or in as many as it takes, and return those that are not refused as they should be."""
    failures = []
    while waiting:
        ended, died = _try(waiting)
        failures += [Failure(name, wrong) for name, wrong in ended.items() if wrong]
        if died:
            culprit = next(name for name in waiting if name not in ended)
            failures.append(Failure(culprit, died))
            ended[culprit] = died
        waiting = [name for name in waiting if name not in ended]
    return failures


def _try(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Have a child try cases; return what it found wrong with those it ended, and how it died if it did."""
    with TemporaryDirectory(prefix="ckptconv-selftest-") as folder:
        child = subprocess.run(
            [sys.executable, "-m", "ckptconv.trials.trial", folder],
            input=json.dumps(list(names)),
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    ended = {line["end"]: line["wrong"] for line in lines if "end" in line}
    if child.returncode == 0:
        return ended, ""
    if child.returncode == -signal.SIGALRM:
        return ended, f"not refused within {WALL_SECONDS} s"
    last = child.stderr.strip().rpartition("\n")[2]
    return ended, f"the process ended with {child.returncode}: {last[:300]}"
