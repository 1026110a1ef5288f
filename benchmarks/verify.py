"""Time and memory of `ckptconv verify` against a plain script that imports both frameworks and compares logits once.

    python benchmarks/verify.py      `make bench` runs it

Of the trained model of the demo and of a random bert-base pair (0.99 GB), whole processes, start-up included; the table
goes into RESULTS.md. Memory that processes share counts for each of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

import results
from bench import CKPTCONV, ENVIRONMENT, HERE, PYTHON, SOURCE
from tabulate import tabulate

DATES = HERE.parent / "fixtures" / "dates"
ROUNDS = {"dates": 7, "a bert-base pair": 3}
POLL_SECONDS = 0.02
HEADING = "## verify"
BOUNDS = {"dates": 0.55, "a bert-base pair": 2.5}
"""How many times the plain script's time `verify` may take."""
MAX_MEGABYTES = 4400
"""All processes at once, of the larger one."""
Row: TypeAlias = tuple[str, float, float | None, float | None, float | None]
"""What ran, how long [s], processor time [s], its largest process and all of them at once [MB]."""


@dataclass(frozen=True, slots=True)
class Family:
    """A process and all that it started."""

    seconds: float
    """Wall time."""
    processor: float
    """Processor time of all [s]."""
    largest: float
    """Peak of the largest process [MB]."""
    at_once: float
    """Largest sum of all processes [MB]."""


PLAIN = """
import sys
import numpy as np
import torch
import tensorflow as tf
from transformers import EncoderDecoderModel, TFEncoderDecoderModel
source, target = sys.argv[1:]
ids = np.random.default_rng(0).integers(4, 40, (3, 41))
fed = np.random.default_rng(1).integers(4, 40, (3, 41))
with torch.no_grad():
    model = EncoderDecoderModel.from_pretrained(source).eval()
    one = model(input_ids=torch.from_numpy(ids), decoder_input_ids=torch.from_numpy(fed)).logits.numpy()
other = TFEncoderDecoderModel.from_pretrained(target)(input_ids=ids, decoder_input_ids=fed).logits.numpy()
assert np.allclose(one, other, atol=1e-3)
"""


def family_peak(
    command: Sequence[str | Path],
    environment: dict[str, str],
    output: Path = Path(os.devnull),
    codes: Sequence[int] = (0,),
) -> Family:
    """Run a command; return what it and all that it started took.

    Args: output: where stdout goes. codes: of the exit, that are no failure.
    """
    started = time.perf_counter()
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            [str(one) for one in command],
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            env={**ENVIRONMENT, **environment},
        )
    peaks: dict[int, float] = {}
    most = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            sizes = {pid: resident(pid) for pid in family(process.pid)}
            for pid, size in sizes.items():
                peaks[pid] = max(peaks.get(pid, 0), size)
            most[0] = max(most[0], sum(sizes.values()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, waited, usage = os.wait4(process.pid, 0)
    status = process.returncode = os.waitstatus_to_exitcode(waited)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if status not in codes:
        sys.exit(f"{' '.join(map(str, command))} ended with {status}")
    processor = usage.ru_utime + usage.ru_stime
    return Family(seconds, processor, max(peaks.values()), most[0])


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in family(int(child)))]


def resident(pid: int) -> float:
    """Return what a process holds in memory [MB]."""
    try:
        return (
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            * os.sysconf("SC_PAGE_SIZE")
            / 1e6
        )
    except (OSError, IndexError):
        return 0.0


def compared(name: str, source: Path, folder: Path) -> list[Row]:
    """Compare a verify of one pair with the plain script."""
    target = folder / name.replace(" ", "-")
    subprocess.run([*CKPTCONV, "pt2tf", "--quiet", source, target], check=True)
    ways: dict[str, tuple[Sequence[str | Path], dict[str, str]]] = {
        f"verify of {name}": ((*CKPTCONV, "verify", "--quiet", source, target), {}),
        f"plain script, {name}": ((PYTHON, "-c", PLAIN, source, target), {"USE_JAX": "0"}),
    }
    runs: dict[str, list[Family]] = {way: [] for way in ways}
    for _ in range(ROUNDS[name]):
        for way, (command, environment) in ways.items():
            runs[way].append(family_peak(command, environment))
    rows: list[Row] = []
    for way, families in runs.items():
        seconds, processor, largest, at_once = (
            statistics.median(getattr(each, field.name) for each in families)
            for field in fields(Family)
        )
        rows.append((way, seconds, processor, largest, at_once))
    ratio = f"verify / plain script, at most {BOUNDS[name]:.2f}"
    return [*rows, (ratio, rows[0][1] / rows[1][1], None, None, None)]


def record(rows: Sequence[Row]) -> None:
    """Print the table, and put it into the results, in the place of the last one."""
    headers = (
        "process",
        "wall [s], ratio",
        "processor [s]",
        "largest process [MB]",
        "all at once [MB]",
    )
    table = tabulate(rows, headers, tablefmt="github", floatfmt=("", ".2f", ".2f", ".0f", ".0f"))
    print(table)
    rounds = ", ".join(f"{count} rounds of {name}" for name, count in ROUNDS.items())
    results.record(
        HEADING,
        f"Medians, in turns: {rounds}; load {os.getloadavg()[1]:.1f}. At once at most {MAX_MEGABYTES} MB.\n\n{table}",
    )


def main() -> None:
    """Measure and record."""
    if not (SOURCE / "model.safetensors").exists():
        subprocess.run([PYTHON, HERE / "make_pair.py", SOURCE], check=True)
    with tempfile.TemporaryDirectory(dir=SOURCE.parent) as scratch:
        folder = Path(scratch)
        record([*compared("dates", DATES, folder), *compared("a bert-base pair", SOURCE, folder)])


if __name__ == "__main__":
    main()
