"""The corpus of malformed checkpoints: how many there are, and that each is refused for its own reason."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.trials.case import MalformedCase
from ckptconv.trials.corpus._model import write
from ckptconv.trials.corpus._zipped import parts, zipped
from ckptconv.trials.malformed import Failure, refuse_malformed
from ckptconv.trials.trial import corpus, try_case, warm_up

if TYPE_CHECKING:
    from conftest import Counted

ROOT = Path(__file__).parents[2]
LEAST = {
    "config": 83,
    "hdf5": 87,
    "hdf5_bytes": 26,
    "index": 98,
    "msgpack": 136,
    "pickle": 210,
    "safetensors": 148,
    "torch_legacy": 60,
    "torch_zip": 118,
    "unknown": 13,
}
"""Cases of each format: there may be more, never fewer."""


@pytest.mark.thorough
def test_counts() -> None:
    """The corpus does not shrink, and no two cases have one name."""
    counts = {form: len(cases) for form, cases in corpus().items()}
    names = [case.name for cases in corpus().values() for case in cases]

    assert {form: min(count, LEAST.get(form, 0)) for form, count in counts.items()} == LEAST
    assert len(set(names)) == len(names) >= 470


@pytest.mark.thorough
def test_all_are_refused(counted: Counted) -> None:
    """Each case ends in exit 3 with its own reason, within 3 s of CPU time and 200 MiB, and nothing else happens."""
    result = refuse_malformed()

    assert result.failures == ()
    assert result.holds
    each = ", ".join(f"{form} {count}" for form, count in sorted(result.counts.items()))
    counted(f"{result.tried} of {result.tried} malformed checkpoints refused: {each}")


def _sound(folder: Path) -> None:
    write(folder, zipped(parts()))


def _empty(folder: Path) -> None:
    write(folder, b"")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("case", "said"),
    [
        (MalformedCase("sound", "none", _sound, ""), "it was converted; left behind: target"),
        (
            MalformedCase("other reason", "none", _empty, "rainbow"),
            "refused for another reason than 'rainbow'",
        ),
        (MalformedCase("as it should be", "none", _empty, "found an empty file"), ""),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: MalformedCase, said: str
) -> None:
    """What is not refused, or for another reason, is seen; what is refused as it should be is not."""
    monkeypatch.setattr(
        "ckptconv.trials.trial.PEAK_BYTES", 1 << 40
    )  # pytest's own process may be a large one
    for name in ("warm", "case"):
        (tmp_path / name).mkdir()
    warm_up(tmp_path / "warm")

    wrong = try_case(case, tmp_path / "case")

    assert said in wrong
    assert bool(said) == bool(wrong)


@pytest.mark.thorough
def test_limits_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that takes too long, or too much memory, is seen, and by how much."""
    monkeypatch.setattr("ckptconv.trials.trial.PEAK_BYTES", 1 << 20)
    monkeypatch.setattr("ckptconv.trials.trial.CPU_SECONDS", 0.0)

    wrong = try_case(MalformedCase("dear", "none", _empty, "found an empty file"), tmp_path)

    assert re.search(r"\d\.\d s of CPU time; \d+ MiB of memory$", wrong)


BETWEEN = """
import re, sys
from pathlib import Path
from ckptconv.trials import trial

trial.PEAK_BYTES = 0  # so that every case tells what it took
cases = {case.name: case for found in trial.corpus().values() for case in found}
for number, name in enumerate(["msgpack-top-nil", "pickle-a-million-dicts", "msgpack-top-nil"]):
    folder = Path(sys.argv[1]) / str(number)
    folder.mkdir()
    print(re.search(r"([0-9]+) MiB", trial.try_case(cases[name], folder))[1])
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process forget its peak")
def test_memory_of_earlier_cases(tmp_path: Path) -> None:
    """What a case took is not counted against the next one: neither what the allocator keeps, nor what cycles hold."""
    command = [sys.executable, "-c", BETWEEN, str(tmp_path)]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    before, large, after = map(int, process.stdout.split())
    assert large > before + 40
    assert after < before + 20


@pytest.mark.thorough
def test_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case at which the process dies is a failure; the cases behind it are tried all the same."""
    cases = corpus()["torch_zip"][:3]
    dying = tmp_path / "python"
    dying.write_text(
        f"""#!/bin/sh
if mkdir {tmp_path}/died 2>/dev/null; then
    echo '{{"end": "{cases[0].name}", "wrong": ""}}'
    kill -SEGV $$
fi
exec {sys.executable} "$@"
"""
    )
    dying.chmod(0o755)
    monkeypatch.setattr("ckptconv.trials.malformed.corpus", lambda: {"torch_zip": cases})
    monkeypatch.setattr("ckptconv.trials.malformed.CHILDREN", 1)
    monkeypatch.setattr("sys.executable", str(dying))

    result = refuse_malformed()

    assert result.failures == (Failure(cases[1].name, "the process ended with -11: "),)
    assert (result.tried, result.holds) == (3, False)
