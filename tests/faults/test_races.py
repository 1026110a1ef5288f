"""Several runs into one target: one wins, nothing is mixed, the others say so; whoever dies is no hindrance."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

import ckptconv
from ckptconv.cli.main import main
from ckptconv.transfer.publish.stage import published
from ckptconv.trials.faults import tree
from ckptconv.trials.pair import write_pair

if TYPE_CHECKING:
    from conftest import Counted

RACERS = 4
ROUNDS, KILLS = (100, 20) if int(os.environ.get("CKPTCONV_FAULTS", "720")) >= 720 else (50, 12)
"""`make test` runs half of the races of `make soak`."""
VERBS = ("pt2flax", "split", "normalize", "pt2flax")
LOST = (
    "Error: TARGET: already exists; give another directory, or --overwrite to replace it.",
    "Error: TARGET: another run (process N) is writing it; it was left as it is.",
)


def fork(*args: object) -> int:
    """Call `convert` in a fork of this warm process; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        convert(*args)  # type: ignore[arg-type]
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    finally:
        os._exit(99)


def convert(
    verb: str, source: Path, target: Path, said: Path, start: float, more: Sequence[str] = ()
) -> NoReturn:
    """Run the command line at a moment that all racers know."""
    fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.argv = ["ckptconv", verb, str(source), str(target), "--quiet", *more]
    time.sleep(max(0.0, start - time.monotonic()))
    main()


def ends(pids: Sequence[int]) -> list[int]:
    """Wait for processes; return their exit codes, or minus the signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a small checkpoint."""
    return write_pair(tmp_path / "source")


@pytest.fixture
def good(source: Path, tmp_path: Path) -> dict[str, object]:
    """Return what each verb writes, and have everything imported before the forks."""
    made: dict[str, object] = {}
    for verb in set(VERBS):
        getattr(ckptconv, verb)(source, tmp_path / "good" / verb)
        made[verb] = tree(tmp_path / "good" / verb)
    return made


@pytest.mark.faults
def test_one_winner(
    source: Path, good: dict[str, object], tmp_path: Path, counted: Counted
) -> None:
    """Of four runs at once, with different outputs, one publishes its own whole; the others exit with 4 and say why."""
    winners: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for number in range(ROUNDS):
        parent = tmp_path / "races" / str(number)
        target, start = parent / "out", time.monotonic() + 0.02
        said = [tmp_path / f"said{racer}" for racer in range(RACERS)]
        pids = [fork(verb, source, target, to, start) for verb, to in zip(VERBS, said, strict=True)]
        codes = ends(pids)
        assert sorted(codes) == [0, 4, 4, 4], [to.read_text() for to in said]
        winner = VERBS[codes.index(0)]
        winners[winner] += 1
        assert tree(target) == good[winner]
        assert [path.name for path in parent.iterdir()] == ["out"]
        for code, to in zip(codes, said, strict=True):
            if code:
                text = to.read_text().strip().replace(str(target), "TARGET")
                for pid in pids:
                    text = text.replace(f"process {pid}", "process N")
                assert text in LOST
                reasons[text] += 1
    lost = ", ".join(
        f"{count} {'locked out' if 'process N' in text else 'too late'}"
        for text, count in reasons.items()
    )
    counted(
        f"races: {ROUNDS} rounds of {RACERS} runs: {winners.total()} winners, one each ({lost})"
    )


@pytest.mark.faults
def test_the_killed_are_no_hindrance(source: Path, good: dict[str, object], tmp_path: Path) -> None:
    """Of four runs one is killed at any moment: the target is absent or one verb's whole, and the next run succeeds."""
    moments = random.Random(0)
    for number in range(KILLS):
        parent = tmp_path / "kills" / str(number)
        target, start = parent / "out", time.monotonic() + 0.02
        said = [tmp_path / f"said{racer}" for racer in range(RACERS)]
        pids = [fork(verb, source, target, to, start) for verb, to in zip(VERBS, said, strict=True)]
        time.sleep(0.02 + moments.random() * 0.1)
        os.kill(moments.choice(pids), signal.SIGKILL)
        codes = ends(pids)
        assert set(codes) <= {0, 4, -9}
        assert codes.count(0) <= 1
        whole = [good[verb] for verb, code in zip(VERBS, codes, strict=True) if code in (0, -9)]
        assert tree(target) in (whole if 0 in codes else [*whole, None])
        again = fork("normalize", source, target, said[0], 0.0, ["--overwrite"])
        assert ends([again]) == [0], said[0].read_text()
        assert tree(target) == good["normalize"]
        assert [path.name for path in parent.iterdir()] == ["out"]


@pytest.mark.faults
def test_a_living_run_is_not_disturbed(source: Path, tmp_path: Path) -> None:
    """While one run writes, the next leaves its stage alone and ends at once, with the writer's process number."""
    target = tmp_path / "out"
    with published(target, overwrite=False) as stage:
        (stage / "config.json").write_text("{}")
        said = tmp_path / "said"
        assert ends([fork("split", source, target, said, 0.0, ["--overwrite"])]) == [4]
        reason = f"Error: {target}: another run (process {os.getpid()}) is writing it; it was left as it is.\n"
        assert said.read_text() == reason
        assert [path.name for path in stage.iterdir()] == ["config.json"]
    assert sorted(tree(target) or {}) == ["config.json"]
