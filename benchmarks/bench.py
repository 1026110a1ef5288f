"""Time and memory of ckptconv against transformers and against a durable copy, taken in one run.

    make bench

Every row is a whole process, start-up included, on a random bert-base pair (see make_pair.py). The
figures of other machines differ; the ratios are what counts. Writes benchmarks/RESULTS.md.
"""

from __future__ import annotations

import datetime
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

from ckptconv import __version__

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
SOURCE, PARTS = WORK / "pt", WORK / "parts"
PYTHON = sys.executable
CKPTCONV = (PYTHON, "-m", "ckptconv")
ROUNDS = 7
"""The quick ways run this often, in turns, and the median counts; a disk is not the same twice."""
LARGEST_TENSOR_MB = 30522 * 768 * 4 / 1e6
ENVIRONMENT = {
    **{
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    },  # as an installed tool
    "HF_HUB_OFFLINE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "JAX_PLATFORMS": "cpu",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One process: wall time [s], peak memory [MB] and processor time [s]."""

    seconds: float
    megabytes: float
    processor: float


def run(
    command: Sequence[str | Path],
    output: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Run:
    """Run a command to its end, once the disk has settled, and remove its output: all begin alike."""
    os.sync()
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**ENVIRONMENT, **(environment or {})},
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{said.decode(errors='replace')[-3000:]}")
    if output is not None:
        shutil.rmtree(output, ignore_errors=True)
        output.unlink(missing_ok=True)
    return Run(seconds, usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime)


def median(runs: Sequence[Run]) -> Run:
    """Return the median times and the highest peak."""
    return Run(
        statistics.median(each.seconds for each in runs),
        max(each.megabytes for each in runs),
        statistics.median(each.processor for each in runs),
    )


def in_turns(ways: dict[str, Callable[[], Run]], rounds: int = ROUNDS) -> dict[str, Run]:
    """Run every way once a round, in another order each time: what comes first must fetch memory for the others."""
    found: dict[str, list[Run]] = {name: [] for name in ways}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(sorted(ways), len(ways)):
            found[name].append(ways[name]())
    return {name: median(runs) for name, runs in found.items()}


def measure() -> dict[str, Run]:
    """Run everything once the pair is there."""
    copy = WORK / "copy"
    run((*CKPTCONV, "split", SOURCE, PARTS))
    run((*CKPTCONV, "pt2tf", SOURCE, WORK / "converted"))
    runs = in_turns(
        {
            "python -c pass": lambda: run((PYTHON, "-c", "pass")),
            "ckptconv --help": lambda: run((*CKPTCONV, "--help")),
            "ckptconv inspect": lambda: run((*CKPTCONV, "inspect", SOURCE)),
            "dd bs=4M conv=fsync": lambda: run(
                ("dd", "bs=4M", "conv=fsync", f"if={SOURCE / 'model.safetensors'}", f"of={copy}"),
                copy,
            ),
            "ckptconv split": lambda: run(
                (*CKPTCONV, "split", SOURCE, WORK / "halves"), WORK / "halves"
            ),
            "ckptconv pt2tf": lambda: run((*CKPTCONV, "pt2tf", SOURCE, WORK / "tf"), WORK / "tf"),
            "ckptconv pt2flax": lambda: run(
                (*CKPTCONV, "pt2flax", SOURCE, WORK / "flax"), WORK / "flax"
            ),
            "ckptconv verify --level weights": lambda: run(
                (*CKPTCONV, "verify", "--level", "weights", SOURCE, WORK / "converted")
            ),
            "ckptconv check": lambda: run((*CKPTCONV, "check", WORK / "converted")),
        }
    )
    peer = (PYTHON, HERE / "peers.py")
    runs["transformers: split way to TF"] = run(
        (*peer, "split-tf", SOURCE, PARTS, WORK / "peer-tf"), WORK / "peer-tf", {"USE_JAX": "0"}
    )
    runs["transformers: from_pt to Flax"] = run(
        (*peer, "from-pt-flax", SOURCE, PARTS, WORK / "peer-flax"),
        WORK / "peer-flax",
        {"USE_TF": "0"},
    )
    return runs


def report(runs: dict[str, Run]) -> str:
    """Return the results as Markdown: a row a process, and the bounds that must hold."""
    durable = runs["dd bs=4M conv=fsync"].seconds
    rows = [
        (name, f"{one.seconds:.2f}", f"{one.megabytes:.0f}", f"{one.seconds / durable:.2f}")
        for name, one in runs.items()
    ]
    table = tabulate(
        rows,
        ("process", "wall [s]", "peak [MB]", "times dd"),
        tablefmt="github",
        disable_numparse=True,
    )
    bounds = tabulate(
        list(judge(runs)), ("bound", "at most", "measured", "holds"), tablefmt="github"
    )
    names = ("numpy", "h5py", "torch", "tensorflow", "tf-keras", "jax", "flax", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"# Results\n\n{datetime.date.today()}, {os.cpu_count()} cores, {platform.system()}, Python"
        f" {platform.python_version()}, ckptconv {__version__}; {versions}.\n\n"
        "A random bert-base pair: 247,363,386 parameters, 0.99 GB, warm page cache. Whole processes;"
        f" the median of {ROUNDS} rounds, each in another order; the peers once. ckptconv's times include fsync and"
        f" reading everything back. Made by `make bench`.\n\n{table}\n\n{bounds}\n"
    )


def judge(runs: dict[str, Run]) -> list[tuple[str, str, str, str]]:
    """Hold the runs against what the project promises."""
    durable, peak = runs["dd bs=4M conv=fsync"].seconds, 2 * LARGEST_TENSOR_MB + 100
    tf, flax = runs["ckptconv pt2tf"], runs["ckptconv pt2flax"]
    peer_tf, peer_flax = (
        runs[f"transformers: {name}"] for name in ("split way to TF", "from_pt to Flax")
    )
    checks = [
        ("pt2tf, part of the split way's time", 1 / 5, tf.seconds / peer_tf.seconds, ""),
        ("pt2flax, part of from_pt's time", 1 / 5, flax.seconds / peer_flax.seconds, ""),
        ("pt2tf, times dd", 1.5, tf.seconds / durable, ""),
        ("pt2flax, times dd", 1.5, flax.seconds / durable, ""),
        ("pt2tf, peak: twice the largest tensor + 100 MB", peak, tf.megabytes, " MB"),
        ("pt2flax, peak: twice the largest tensor + 100 MB", peak, flax.megabytes, " MB"),
        ("--help", 0.2, runs["ckptconv --help"].seconds, " s"),
        ("inspect", 0.5, runs["ckptconv inspect"].seconds, " s"),
    ]
    return [
        (name, f"{bound:.2f}{unit}", f"{found:.2f}{unit}", "yes" if found <= bound else "NO")
        for name, bound, found, unit in checks
    ]


def main() -> None:
    """Make the pair, measure, print and write the results."""
    for left in set(WORK.glob("*")) - {SOURCE}:  # of a run that was interrupted
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    if not (SOURCE / "model.safetensors").exists():
        # by a process of its own: what this one holds counts for each that it starts
        subprocess.run([PYTHON, HERE / "make_pair.py", SOURCE], check=True)
    try:
        text = report(measure())
    finally:
        for output in ("parts", "converted"):
            shutil.rmtree(WORK / output, ignore_errors=True)
    print(text)
    results = HERE / "RESULTS.md"
    _, section, others = results.read_text().partition(
        "\n## "
    )  # what verify.py and export.py wrote
    results.write_text(f"{text.rstrip()}\n{section}{others}")


if __name__ == "__main__":
    main()
