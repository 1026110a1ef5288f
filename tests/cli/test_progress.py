"""The bar: on a terminal, after a while, within its width, and gone in the end."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from terminal import on_terminal

WORK = """
import time
from ckptconv.cli import speech
speech.DELAY_SECONDS, speech.TICK_SECONDS = {delay}, 0.05
with speech.progress("writing", {then!r}, quiet={quiet}) as advance:
    for done in range(0, 7_000_000, 1_000_000):
        advance(done, {total})
        time.sleep(0.1)
    time.sleep(0.3)
print("done")
"""
HUNG = """
import time
from ckptconv.cli import speech
speech.DELAY_SECONDS, speech.TICK_SECONDS = 0.1, 0.05
with speech.progress("running both models") as advance:
    time.sleep(2.2)
"""
FAILS = """
import threading, time
from ckptconv.cli import speech
speech.DELAY_SECONDS, speech.TICK_SECONDS = 0.1, 0.05
try:
    with speech.progress("writing") as advance:
        advance(1, 2)
        time.sleep(0.3)
        raise ValueError("broken")
except ValueError as error:
    print(error, threading.active_count())
"""


def work(*, delay: float = 0.2, quiet: bool = False, total: int = 6_000_000, then: str = "") -> str:
    """Return a script that moves six million bytes in 0.6 s, and then waits for a moment."""
    return WORK.format(delay=delay, quiet=quiet, total=total, then=then)


def frames(err: str) -> list[str]:
    """Return every state of the bar that stood on a terminal."""
    return [frame for frame in err.split("\r") if frame.strip()]


@pytest.mark.thorough
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_bar_with_rate_and_time_left(columns: int) -> None:
    """It appears after the delay, fits terminal and 100 columns, and its line is empty in the end."""
    shown = on_terminal("-c", work(), columns=columns)
    assert (shown.code, shown.out) == (0, "done\n")
    drawn = frames(shown.err)
    assert re.fullmatch(
        r"writing:  +\d+%\|.*\| \d\.\d0M/6\.00M \[\d\d:\d\d<\d\d:\d\d, [\d.]+MB/s\]", drawn[0]
    )
    assert max(map(len, drawn)) <= min(columns, 100)
    assert shown.err.split("\r")[-1].strip() == ""


@pytest.mark.thorough
def test_no_total_no_time_left() -> None:
    """Where nobody knows how much is to be done, there are bytes, a clock and a rate."""
    drawn = frames(on_terminal("-c", work(total=0)).err)
    assert re.fullmatch(r"writing: \d\.\d0MB \[\d\d:\d\d, [\d.]+MB/s\]", drawn[-1].strip())


@pytest.mark.thorough
def test_what_comes_after_the_last_byte() -> None:
    """When all bytes are done the bar says what is waited for."""
    drawn = frames(on_terminal("-c", work(then="flushing")).err)
    assert drawn[0].startswith("writing:")
    assert re.fullmatch(r"flushing: \d\d:\d\d", drawn[-1].strip())


@pytest.mark.thorough
def test_the_clock_runs_where_nothing_moves() -> None:
    """While frameworks compute, no byte moves, and still the bar says how long it has been."""
    drawn = frames(on_terminal("-c", HUNG).err)
    clocks = [re.fullmatch(r"running both models: (\d\d:\d\d)", frame.strip()) for frame in drawn]
    assert len({clock[1] for clock in clocks if clock}) > 1
    assert all(clocks)


@pytest.mark.thorough
@pytest.mark.parametrize("script", [work(delay=60), work(quiet=True)], ids=["quick", "quiet"])
def test_no_bar_for_what_is_quick_or_quiet(script: str) -> None:
    """Nothing is drawn before the delay, nor with --quiet."""
    assert on_terminal("-c", script).err.strip() == ""


@pytest.mark.thorough
def test_no_bar_in_a_pipe() -> None:
    """A pipe gets nothing, and tqdm is not even imported."""
    script = work(delay=0) + "import sys; print('tqdm' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (process.stdout, process.stderr) == ("done\nFalse\n", "")


@pytest.mark.thorough
def test_an_error_ends_the_bar() -> None:
    """What an operation raises passes through, the line is empty, and the bar's thread has ended."""
    shown = on_terminal("-c", FAILS)
    assert (shown.code, shown.out) == (0, "broken 1\n")
    assert shown.err.split("\r")[-1].strip() == ""
