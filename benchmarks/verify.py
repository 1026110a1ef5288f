"""Time and memory of `ckptconv verify` against a plain script that imports both frameworks and compares logits once.

    python benchmarks/verify.py      `make bench` runs it

And of `verify --level weights` of a 0.99 GB pair against `cmp` of two such files. Whole processes, start-up included;
the table goes to the end of RESULTS.md. Memory that processes share counts for each of them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import results
from bench import CKPTCONV, ENVIRONMENT, PYTHON, SOURCE, WORK, run
from make_pair import make_pair
from tabulate import tabulate

HERE = Path(__file__).resolve().parent
DATES = HERE.parent / "fixtures" / "dates"
ROUNDS = 7
POLL_SECONDS = 0.02
HEADING = "## verify"
SchemaTensor: TypeAlias = tuple[str, float, float | None, float | None]
"""What ran, how long [s], its largest process and all of them at once [MB]."""
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
) -> tuple[float, float, float]:
    """Return wall time [s], the largest process's peak [MB], and the largest sum of all processes at once [MB].

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
    status = process.wait()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if status not in codes:
        sys.exit(f"{' '.join(map(str, command))} ended with {status}")
    return seconds, max(peaks.values()), most[0]


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


def forward(folder: Path) -> list[SchemaTensor]:
    """Compare a verify of the trained model with the plain script."""
    target = folder / "tf"
    subprocess.run([*CKPTCONV, "pt2tf", "--quiet", DATES, target], check=True)
    plain = (PYTHON, "-c", PLAIN, DATES, target)
    ours = (*CKPTCONV, "verify", "--quiet", DATES, target)
    runs: dict[str, list[tuple[float, float, float]]] = {"verify of dates": [], "plain script": []}
    for _ in range(ROUNDS):
        runs["verify of dates"].append(family_peak(ours, {}))
        runs["plain script"].append(family_peak(plain, {"USE_JAX": "0"}))
    rows: list[SchemaTensor] = [
        (name, *(statistics.median(one[n] for one in found) for n in range(3)))
        for name, found in runs.items()
    ]
    return [*rows, ("verify / plain script, at most 0.70", rows[0][1] / rows[1][1], None, None)]


def weights() -> list[SchemaTensor]:
    """Compare `--level weights` of the large pair with `cmp` of two files of its size."""
    if not (SOURCE / "model.safetensors").exists():
        make_pair(SOURCE)
    converted, copy = WORK / "converted", WORK / "copy.safetensors"
    shutil.rmtree(converted, ignore_errors=True)
    run((*CKPTCONV, "pt2tf", SOURCE, converted))
    shutil.copyfile(SOURCE / "model.safetensors", copy)
    ways = {
        "verify --level weights of 0.99 GB": (
            *CKPTCONV,
            "verify",
            "--quiet",
            "--level",
            "weights",
            SOURCE,
            converted,
        ),
        "cmp of 0.99 GB": ("cmp", SOURCE / "model.safetensors", copy),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    try:
        for _ in range(ROUNDS):
            for name, command in ways.items():
                done = run(command)
                found[name].append((done.seconds, done.megabytes))
    finally:
        shutil.rmtree(converted, ignore_errors=True)
        copy.unlink()
    rows: list[SchemaTensor] = []
    for name, some in found.items():
        seconds, megabytes = (statistics.median(one[n] for one in some) for n in range(2))
        rows.append((name, seconds, megabytes, megabytes))
    return [*rows, ("verify --level weights / cmp, at most 3", rows[0][1] / rows[1][1], None, None)]


def record(rows: Sequence[SchemaTensor]) -> None:
    """Print the table, and put it at the end of the results, in the place of the last one."""
    headers = ("process", "wall [s], ratio", "largest process [MB]", "all at once [MB]")
    table = tabulate(rows, headers, tablefmt="github", floatfmt=("", ".2f", ".0f", ".0f"))
    print(table)
    results.record(HEADING, f"The median of {ROUNDS} rounds, in turns.\n\n{table}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as found:
        measured = forward(Path(found))
    record([*measured, *weights()])
