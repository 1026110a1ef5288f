"""What a self-test showed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.base.strict_json import Json
from ckptconv.report.text import one_line, table
from ckptconv.trials.faults import Sweep
from ckptconv.trials.malformed import Refusals
from ckptconv.trials.selftest import SelfTest


def selftest_text(result: SelfTest) -> str:
    """Return the counts, every broken promise, and on the last line the verdict."""
    blocks = [_refusals_text(result.malformed)]
    if result.faults:
        blocks.append(_faults_text(result.faults))
    broken = [one_line(line) for line in _broken(result)]
    verdict = (
        f"BROKEN: {len(broken)} of these promises"
        if broken
        else "HOLDS: every promise that was tested"
    )
    return "\n\n".join([*blocks, "\n".join([*broken, f"{verdict}, in {result.seconds:.0f} s"])])


def _refusals_text(found: Refusals) -> str:
    failed = {failure.case for failure in found.failures}
    rows = [(form, count) for form, count in sorted(found.counts.items())]
    rows.append(("together", found.tried))
    text = table(rows, ("malformed", "files"), ("left", "right"))
    return f"{text}\n{found.tried - len(failed)} of {found.tried} refused, each for its own reason"


def _faults_text(found: Sweep) -> str:
    rows = [(name, found.calls[name], points) for name, points in found.points.items()]
    points = sum(found.points.values())
    text = table(rows, ("faults while", "calls that write", "faults"), ("left", "right", "right"))
    whole = points - len({(one.scenario, str(one.fault)) for one in found.violations})
    return f"{text}\n{whole} of {points} left the target whole or absent; injected with {found.injector}"


def _broken(result: SelfTest) -> Iterator[str]:
    for failure in result.malformed.failures:
        yield f"{failure.case}: {failure.what}"
    for violation in result.faults.violations if result.faults else ():
        yield str(violation)


def selftest_json(result: SelfTest) -> dict[str, Json]:
    """Return a self-test for --json."""
    faults = result.faults
    return {
        "verdict": "holds" if result.holds else "broken",
        "malformed": {
            "counts": dict(result.malformed.counts),
            "failures": [{"case": one.case, "what": one.what} for one in result.malformed.failures],
        },
        "faults": None
        if faults is None
        else {
            "injector": faults.injector,
            "calls": dict(faults.calls),
            "points": dict(faults.points),
            "published": faults.published,
            "violations": [str(one) for one in faults.violations],
        },
        "seconds": round(result.seconds, 1),
    }
