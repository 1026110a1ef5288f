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
from functools import partial
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
DD, CAT, DIGEST = "dd bs=4M conv=fsync", "cat FILES | wc -c", "hashlib, sha256 of 0.99 GB"
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


HASHED = """
import sys
from hashlib import sha256
digest, block = sha256(), bytes(1 << 20)
for _ in range(int(sys.argv[1]) >> 20):
    digest.update(block)
"""
"""What a digest takes by itself, of as many bytes in memory."""


def measure() -> dict[str, Run]:
    """Run everything once the pair is there."""
    weights, copy, same = SOURCE / "model.safetensors", WORK / "copy", WORK / "same"
    shutil.copyfile(weights, same)
    run((*CKPTCONV, "split", SOURCE, PARTS))
    run((*CKPTCONV, "pt2tf", SOURCE, WORK / "converted"))
    files = sorted(map(str, (WORK / "converted").iterdir()))
    runs = in_turns(
        {
            "python -c pass": lambda: run((PYTHON, "-c", "pass")),
            "python -c 'import click'": lambda: run((PYTHON, "-c", "import click")),
            "ckptconv --help": lambda: run((*CKPTCONV, "--help")),
            "ckptconv inspect": lambda: run((*CKPTCONV, "inspect", SOURCE)),
            DD: lambda: run(("dd", "bs=4M", "conv=fsync", f"if={weights}", f"of={copy}"), copy),
            "dd bs=1M conv=fsync": lambda: run(
                ("dd", "bs=1M", "conv=fsync", f"if={weights}", f"of={copy}"), copy
            ),
            **{
                f"ckptconv {verb}": partial(written, verb)
                for verb in ("split", "normalize", "pt2tf", "pt2flax")
            },
            "ckptconv verify --level weights": lambda: run(
                (*CKPTCONV, "verify", "--level", "weights", SOURCE, WORK / "converted")
            ),
            "cmp": lambda: run(("cmp", weights, same)),
            "ckptconv check": lambda: run((*CKPTCONV, "check", WORK / "converted")),
            CAT: lambda: run(("sh", "-c", 'cat "$@" | wc -c', "sh", *files)),
            "sha256sum FILES": lambda: run(("sha256sum", *files)),
            DIGEST: lambda: run((PYTHON, "-c", HASHED, str(weights.stat().st_size))),
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


def written(verb: str) -> Run:
    """Run a verb that writes, and remove what it wrote."""
    return run((*CKPTCONV, verb, SOURCE, WORK / "output"), WORK / "output")


def report(runs: dict[str, Run]) -> str:
    """Return the results as Markdown: a row a process, and the bounds that must hold."""
    durable = runs[DD].seconds
    rows = [
        (
            name,
            f"{each.seconds:.2f}",
            f"{each.processor:.2f}",
            f"{each.megabytes:.0f}",
            f"{each.seconds / durable:.2f}",
        )
        for name, each in runs.items()
    ]
    table = tabulate(
        rows,
        ("process", "wall [s]", "processor [s]", "peak [MB]", "times dd"),
        tablefmt="github",
        disable_numparse=True,
    )
    bounds = tabulate(
        list(judge(runs)), ("bound", "at most", "measured", "holds"), tablefmt="github"
    )
    names = ("numpy", "h5py", "torch", "tensorflow", "tf-keras", "jax", "flax", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"# Results\n\n{datetime.date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f},"
        f" {platform.system()}, Python {platform.python_version()}, ckptconv {__version__}; {versions}.\n\n"
        "A random bert-base pair: 247,363,386 parameters, 0.99 GB, warm page cache. Whole processes;"
        f" the median of {ROUNDS} rounds, each in another order; the peers once. ckptconv's times include fsync and"
        " reading everything back. The two digests that a conversion owes (sha256 of the source, and of the output) are"
        f" twice the row of hashlib. Made by `make bench`.\n\n{table}\n\n{bounds}\n"
    )


def times_durable(seconds: float) -> float:
    """Return how many times dd's time a conversion may take: where the disk is slow, it is all that counts."""
    quick, slow = 1.6, 1.1
    return quick - (quick - slow) * min(max(seconds - 1, 0.0), 1.0)


def judge(runs: dict[str, Run]) -> list[tuple[str, str, str, str]]:
    """Hold the runs against what the project promises."""
    durable, click = runs[DD].seconds, runs["python -c 'import click'"].seconds
    reading = 1.1 * runs[CAT].processor + runs[DIGEST].processor
    checks = [
        ("--help, times import click", 1.4, runs["ckptconv --help"].seconds / click, ""),
        ("inspect", 0.12, runs["ckptconv inspect"].seconds, " s"),
        ("check, processor: 1.1 cat and a digest", reading, _processor(runs, "check"), " s"),
        (
            "verify --level weights, times cmp",
            1.3,
            runs["ckptconv verify --level weights"].seconds / runs["cmp"].seconds,
            "",
        ),
    ]
    for verb, peer in (("pt2tf", "split way to TF"), ("pt2flax", "from_pt to Flax")):
        conversion = runs[f"ckptconv {verb}"]
        part = conversion.seconds / runs[f"transformers: {peer}"].seconds
        checks += [
            (f"{verb}, part of the time of the {peer}", 1 / 5, part, ""),
            (f"{verb}, times dd", times_durable(durable), conversion.seconds / durable, ""),
            (f"{verb}, processor", 2.0, conversion.processor, " s"),
            (f"{verb}, peak", 100, conversion.megabytes, " MB"),
        ]
    for verb in ("split", "normalize"):
        conversion = runs[f"ckptconv {verb}"]
        checks += [
            (f"{verb}, times dd", 1.3, conversion.seconds / durable, ""),
            (f"{verb}, processor", 1.5, conversion.processor, " s"),
        ]
    return [
        (name, f"{bound:.2f}{unit}", f"{measured:.2f}{unit}", "yes" if measured <= bound else "NO")
        for name, bound, measured, unit in checks
    ]


def _processor(runs: dict[str, Run], verb: str) -> float:
    return runs[f"ckptconv {verb}"].processor


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
        (WORK / "same").unlink(missing_ok=True)
    print(text)
    results = HERE / "RESULTS.md"
    _, section, others = results.read_text().partition(
        "\n## "
    )  # what verify.py and export.py wrote
    results.write_text(f"{text.rstrip()}\n{section}{others}")


if __name__ == "__main__":
    main()
