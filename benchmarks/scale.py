"""Time and memory of conversions, inspect, diff and check as checkpoints grow: in bytes, tensors and files.

    python benchmarks/scale.py [CASE ...]     all takes 32 GB of disk and 10 minutes on an idle machine

A case is a checkpoint by its name, such as "10 GB", "100,000 tensors" or "5,000 shards", or `workers`: conversions of
1 GB into one file and into 16 by 1 to 16 threads, and how many threads ran or waited for the disk at once.

What grows in proportion is flat in the columns per unit, and its memory does not grow with the bytes. The checkpoints
are holes: what a disk does with data is in the first table of the results. A case that would leave less than 10 GB free
is left out, and said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import results
from bench import CKPTCONV, WORK, Run, run
from make_pair import BERT_BASE, PAIR
from tabulate import tabulate

from ckptconv.base.strict_json import Json, dump_json
from ckptconv.base.workers import VARIABLE
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import TensorSpec

FOLDER = WORK / "scale"
HEADING = "## scale"
SPARE_BYTES = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """One checkpoint."""

    layers: int
    """Of each side."""
    hidden: int
    unit: str
    """What its rows are divided by: `GB`, or `10,000 tensors`."""
    shards: int = 1
    """Files that `normalize` cuts it into."""
    verbs: tuple[str, ...] = ("inspect", "normalize", "pt2tf", "check", "diff")


CASES = {
    "1 GB": Case(2, 2048, "GB"),
    "10 GB": Case(20, 2048, "GB"),
    "30 GB": Case(62, 2048, "GB", verbs=("inspect", "pt2tf", "check", "diff")),
    "1,000 tensors": Case(24, 8, "10,000 tensors"),
    "10,000 tensors": Case(240, 8, "10,000 tensors"),
    "100,000 tensors": Case(2400, 8, "10,000 tensors"),
    "500 shards": Case(24, 8, "10,000 tensors", 500, ("normalize", "inspect", "check", "diff")),
    "5,000 shards": Case(240, 8, "10,000 tensors", 5000, ("normalize", "inspect", "check", "diff")),
}


def written(case: Case, folder: Path) -> tuple[int, int]:
    """Do what `write` does in another process: a child's peak is at least what its parent takes when it begins."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(write, case, folder).result()


def write(case: Case, folder: Path) -> tuple[int, int]:
    """Write a checkpoint of holes; return how many tensors and bytes it has."""
    side: dict[str, Json] = {
        **BERT_BASE,
        "hidden_size": case.hidden,
        "intermediate_size": 4 * case.hidden,
        "num_hidden_layers": case.layers,
        "num_attention_heads": max(1, case.hidden // 64),
        "vocab_size": 30522 if case.unit == "GB" else 103,
    }
    config: dict[str, Json] = {
        **PAIR,
        "encoder": side,
        "decoder": {**side, "is_decoder": True, "add_cross_attention": True},
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(dump_json(config))
    specs = [
        TensorSpec(row.key, "float32", row.shape("pytorch"))
        for row in read_model(Config(config)).tensors
        if row.module.presence != "dropped" and not row.module.tied
    ]
    create = FORMATS["safetensors"].create
    assert create is not None
    create(folder / "model.safetensors", specs, "pytorch", False)
    return len(specs), sum(spec.nbytes for spec in specs)


def measured(case: Case, tensors: int, nbytes: int) -> Iterator[tuple[str, Run]]:
    """Run the verbs of a case, each once."""
    source, output = FOLDER / "source", FOLDER / "output"
    cut = ["--max-shard-size", f"{nbytes // case.shards}B"] if case.shards > 1 else []
    for verb in case.verbs:
        if verb in ("normalize", "pt2tf"):
            shutil.rmtree(output, ignore_errors=True)
            yield verb, run((*CKPTCONV, verb, "--quiet", source, output, *cut))
        elif verb == "check":
            yield verb, run((*CKPTCONV, verb, "--quiet", output))
        elif verb == "inspect":
            yield verb, run((*CKPTCONV, verb, "--json", output if cut else source))
        else:
            yield verb, run((*CKPTCONV, verb, "--quiet", source, output))


def rows(name: str, case: Case) -> Iterator[tuple[str, ...]]:
    """Write, run, clear up; yield a row a verb."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        tensors, nbytes = written(case, FOLDER / "source")
        if shutil.disk_usage(FOLDER).free < nbytes + SPARE_BYTES:
            yield name, "left out: the disk has no room", "", "", "", ""
            return
        units = nbytes / 1e9 if case.unit == "GB" else tensors / 10_000
        for verb, each in measured(case, tensors, nbytes):
            yield (
                name,
                verb,
                f"{each.seconds:.1f}",
                f"{each.processor:.1f}",
                f"{each.processor / units:.2f} per {case.unit}",
                f"{each.megabytes:.0f}",
            )
            print(name, verb, each, flush=True)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


WORKERS = "workers"
COUNTS = (1, 2, 4, 8, 16)
SAMPLE_SECONDS = 0.01


def busy_threads(pid: int) -> int:
    """Return how many threads of a process run, or wait for the disk, at this moment."""
    busy = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended
            busy += stat.read_text().rpartition(")")[2].split()[0] in "RD"
    return busy


def watched(command: Sequence[str | Path], count: int) -> tuple[Run, int]:
    """Run a command with a count of threads; return what it took, and how many threads were busy at once."""
    started, most = time.perf_counter(), 0
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        env={**os.environ, VARIABLE: str(count)},
    )
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        most = max(most, busy_threads(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if status:
        sys.exit(f"{command} failed")
    seconds = time.perf_counter() - started
    return Run(seconds, usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime), most


def worker_rows() -> Iterator[tuple[str, ...]]:
    """Convert a checkpoint of 1 GB in one file and in 16 with every count of threads; yield a row a run."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    source, cut, output = FOLDER / "source", FOLDER / "cut", FOLDER / "output"
    try:
        _, nbytes = written(CASES["1 GB"], source)
        shards = ("--max-shard-size", f"{nbytes // 16}B")
        run((*CKPTCONV, "normalize", "--quiet", source, cut, *shards))
        ways = {
            "pt2tf, one file": ("pt2tf", source, output),
            "normalize, one file": ("normalize", source, output),
            "normalize, shards to shards": ("normalize", cut, output, *shards),
            "diff, shards": ("diff", source, cut),
            "check, shards": ("check", cut),
        }
        for name, (verb, *words) in ways.items():
            for count in COUNTS:
                shutil.rmtree(output, ignore_errors=True)
                each, busy = watched((*CKPTCONV, verb, "--quiet", *words), count)
                print(name, count, each, busy, flush=True)
                yield (
                    name,
                    str(count),
                    f"{each.seconds:.1f}",
                    f"{each.processor:.1f}",
                    f"{each.megabytes:.0f}",
                    str(busy),
                )
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def main(names: list[str]) -> None:
    """Measure and record."""
    names = names or [*CASES, WORKERS]
    unknown = [name for name in names if name not in CASES and name != WORKERS]
    if unknown:
        sys.exit(f"no such case: {unknown[0]}; there are {', '.join([*CASES, WORKERS])}")
    tables = []
    cases = [row for name in names if name in CASES for row in rows(name, CASES[name])]
    if cases:
        heads = ("checkpoint", "verb", "wall [s]", "processor [s]", "processor", "peak [MB]")
        tables.append(tabulate(cases, heads, tablefmt="github", disable_numparse=True))
    if WORKERS in names:
        heads = ("way", "threads", "wall [s]", "processor [s]", "peak [MB]", "busy at once")
        tables.append(
            tabulate(list(worker_rows()), heads, tablefmt="github", disable_numparse=True)
        )
    print("\n\n".join(tables))
    load = f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[1]:.1f}"
    results.record(HEADING, f"Single runs, {load}, checkpoints of holes.\n\n" + "\n\n".join(tables))


if __name__ == "__main__":
    main(sys.argv[1:])
