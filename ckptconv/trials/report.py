"""What a self-test showed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.base.strict_json import Json
from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, one_line, prose, table
from ckptconv.trials.faults import Sweep
from ckptconv.trials.malformed import Refusals
from ckptconv.trials.selftest import SelfTest


def selftest_text(result: SelfTest, screen: Screen = PIPE) -> str:
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
    return prose(
        "\n\n".join([*blocks, "\n".join([*broken, f"{verdict}, in {result.seconds:.0f} s"])]),
        screen,
    )


def _refusals_text(refusals: Refusals) -> str:
    refused_wrongly = {failure.case for failure in refusals.failures}
    rows = [(form, count) for form, count in sorted(refusals.counts.items())]
    rows.append(("together", refusals.tried))
    text = table(rows, ("malformed", "files"), ("left", "right"))
    return f"{text}\n{refusals.tried - len(refused_wrongly)} of {refusals.tried} refused, each for its own reason"


def _faults_text(sweep: Sweep) -> str:
    rows = [(name, sweep.calls[name], points) for name, points in sweep.points.items()]
    points = sum(sweep.points.values())
    text = table(rows, ("faults while", "calls that write", "faults"), ("left", "right", "right"))
    intact = points - len(
        {(violation.scenario, str(violation.fault)) for violation in sweep.violations}
    )
    return f"{text}\n{intact} of {points} left the target whole or absent; injected with {sweep.injector}"


def _broken(result: SelfTest) -> Iterator[str]:
    for failure in result.malformed.failures:
        yield f"{failure.case}: {failure.what}"
    for violation in result.faults.violations if result.faults else ():
        yield str(violation)


def selftest_json(result: SelfTest) -> dict[str, Json]:
    """Return a self-test for --json."""
    faults = result.faults
    body: dict[str, Json] = {
        "verdict": "holds" if result.holds else "broken",
        "malformed": {
            "counts": dict(result.malformed.counts),
            "failures": [
                {"case": failure.case, "what": failure.what}
                for failure in result.malformed.failures
            ],
        },
        "faults": None
        if faults is None
        else {
            "injector": faults.injector,
            "calls": dict(faults.calls),
            "points": dict(faults.points),
            "published": faults.published,
            "violations": [str(violation) for violation in faults.violations],
        },
        "seconds": round(result.seconds, 1),
    }
    return stamped("selftest", body)
