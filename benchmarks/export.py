"""Tokens a CPU-second of what `ckptconv export` writes, against `generate` of PyTorch's and TF's class, on one thread.

    python benchmarks/export.py [--peers PYTHON] [--rows ROW ...] [MODEL ...]

Each engine generates 32 tokens from 64, greedily, in a process of its own, batch 1 and 8; the first run warms up, the
best of the next three counts, or of as many as end in a quarter of a minute. CPU seconds of the process, since the
machine may have other work. A row that fails, or answers other tokens than PyTorch, is shown as such, and the exit
code is 1. PYTHON is the interpreter of a virtual environment that has torch, transformers and optimum-onnx with
onnxruntime, and ctranslate2 besides. The two pairs without LiteRT take 13 minutes of two idle cores. The tables of all
models and rows go into RESULTS.md, in the place of the last ones; those of some are printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import results
from export_engines import BATCHES
from tabulate import tabulate

HERE = Path(__file__).resolve().parent
DATES = HERE.parent / "fixtures" / "dates"
HEADING = "## export"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "HF_HUB_OFFLINE": "1",
}
PAIRS = ("mid", "base")
FORMATS = {"onnx": "onnxruntime", "savedmodel": "savedmodel", "jax": "jax", "litert": ""}
"""Format -> the engine that runs it here; LiteRT has none that generates in one call."""
TF_CLASS = "tf_class"
ENGINES = {
    "onnxruntime": "ONNX Runtime",
    "savedmodel": "SavedModel",
    "jax": "JAX",
    TF_CLASS: "TF class",
}
"""Engine -> its column."""
PEERS = {"bart": "ctranslate2", "roberta2gpt2": "optimum"}
"""Model -> who else generates with it; both are of the middle size."""
MODELS, ROWS = ("dates", *PAIRS, *PEERS), (*FORMATS, TF_CLASS)
GIGABYTE, EXPORT_SECONDS, EXPORT_GIGABYTES, TIMES_WEIGHTS = 1e9, 180, 6, 1.05
Row: TypeAlias = list[Any]


@dataclass
class Tables:
    """What was measured."""

    exports: list[Row] = field(default_factory=list)
    """Model, format, CPU [s], wall [s], largest process [GB], parts of the weights."""
    speeds: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    """Model, batch, engine -> tokens a CPU-second."""
    peers: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def make(name: str, folder: Path) -> Path:
    """Write a model, in a process of its own: what this one holds would count for each that it starts."""
    command = [sys.executable, HERE / "export_models.py", name, folder]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return folder


def measured(engine: str, path: Path, tables: Tables, python: str = sys.executable) -> Any:
    """Run one engine; return tokens a CPU-second and tokens, for each batch; nothing where it fails."""
    command = [python, str(HERE / "export_engines.py"), engine, str(path)]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        tables.failures.append(f"{path.name}, {engine}: {last[:300]}")
        print(done.stderr[-3000:], file=sys.stderr)
        return []
    rows = json.loads(done.stdout.splitlines()[-1])
    print(path.name, engine, *(f"{speed:.1f}" for speed, _ in rows), file=sys.stderr)
    return rows


def exported(source: Path, target: Path, form: str, tables: Tables) -> bool:
    """Export, and add a row; return whether it was written."""
    command = [sys.executable, "-m", "ckptconv", "export", str(source), str(target)]
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, "--format", form, "--quiet"], env={**os.environ, **ENVIRONMENT}
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        tables.failures.append(f"{source.name}: no export to {form}")
        return False
    wall, seconds = time.monotonic() - begun, usage.ru_utime + usage.ru_stime
    weights = (source / "model.safetensors").stat().st_size
    files = (file for file in target.rglob("*") if file.is_file())
    ratio = sum(file.stat().st_size for file in files) / weights
    row = [source.name, form, seconds, wall, usage.ru_maxrss * 1024 / GIGABYTE, ratio]
    print(target.name, *(f"{value:.3f}" for value in row[2:]), file=sys.stderr)
    tables.exports.append(row)
    return True


def compare(size: str, root: Path, rows: Sequence[str], tables: Tables) -> None:
    """Export a pair to each format, and measure each engine beside PyTorch's class."""
    source = make(size, root / size)
    answers = {"pytorch": measured("pytorch", source, tables)}
    for form in [form for form in FORMATS if form in rows]:
        target = root / f"{size}-{form}"
        if exported(source, target, form, tables) and FORMATS[form]:
            answers[FORMATS[form]] = measured(FORMATS[form], target, tables)
    if TF_CLASS in rows:
        target = root / f"{size}-tf"
        command = [sys.executable, "-m", "ckptconv", "pt2tf", str(source), str(target), "--quiet"]
        subprocess.run(command, check=True)
        answers[TF_CLASS] = measured(TF_CLASS, target, tables)
    for number, batch in enumerate(BATCHES):
        there = {engine: answer[number] for engine, answer in answers.items() if answer}
        tables.speeds.append((size, batch, {engine: speed for engine, (speed, _) in there.items()}))
        tables.failures += [
            f"{size}, batch {batch}: {engine} answers other tokens than PyTorch"
            for engine, (_, tokens) in there.items()
            if "pytorch" in there and tokens != there["pytorch"][1]
        ]


def beside(name: str, python: str, root: Path, tables: Tables) -> None:
    """Add a row for each batch: PyTorch, ours in ONNX Runtime, the peer, and whether it gives the same."""
    source, target = make(name, root / name), root / f"{name}-onnx"
    if not exported(source, target, "onnx", tables):
        return
    answers = [
        measured("pytorch", source, tables),
        measured("onnxruntime", target, tables),
        measured(PEERS[name], source, tables, python),
    ]
    if not all(answers):
        return
    for number, batch in enumerate(BATCHES):
        speeds, tokens = zip(*(answer[number] for answer in answers), strict=True)
        if tokens[1] != tokens[0]:
            tables.failures.append(f"{name}, batch {batch}: ours answers other tokens than PyTorch")
        same = "same" if tokens[2] == tokens[0] else "others"
        tables.peers.append([name, batch, speeds[0], speeds[1], PEERS[name], speeds[2], same])


def speed_table(tables: Tables) -> str:
    """Return speeds and, in brackets, how many times PyTorch's they are."""
    text = []
    for size, batch, speeds in tables.speeds:
        own = speeds.get("pytorch", 0.0)
        cells = [
            f"{speeds[engine]:.0f} ({speeds[engine] / own:.2f})" if engine in speeds and own else ""
            for engine in ENGINES
        ]
        text.append([size, batch, f"{own:.0f}", *cells])
    return str(tabulate(text, ("pair", "batch", "PyTorch", *ENGINES.values()), "github"))


LEAST = {
    "ONNX Runtime / PyTorch": (1.5, "onnxruntime", "pytorch"),
    "SavedModel / PyTorch": (1.2, "savedmodel", "pytorch"),
    "SavedModel / TF class": (4, "savedmodel", TF_CLASS),
}
"""Name -> the least ratio of two engines' speeds."""
MOST = {
    "export, wall [s]": (EXPORT_SECONDS, 3),
    "export, largest process [GB]": (EXPORT_GIGABYTES, 4),
    "artefact / weights": (TIMES_WEIGHTS, 5),
}
"""Name -> the bound of the exports of the base pair, and its place in their rows."""


def bounds(tables: Tables) -> Iterator[Row]:
    """Yield each bound, what was measured where it is closest to it, and whether it holds."""
    for name, (bound, above, below) in LEAST.items():
        ratios = [
            (speeds[above] / speeds[below], f"{size}, batch {batch}")
            for size, batch, speeds in tables.speeds
            if above in speeds and below in speeds
        ]
        if ratios:
            ratio, where = min(ratios)
            yield [
                name,
                where,
                f"at least {bound}",
                f"{ratio:.2f}",
                "yes" if ratio >= bound else "NO",
            ]
    large = [row for row in tables.exports if row[0] == PAIRS[-1]]
    for name, (limit, place) in MOST.items():
        if large:
            value, form = max((row[place], row[1]) for row in large)
            yield [
                name,
                f"{PAIRS[-1]}, {form}",
                f"at most {limit}",
                f"{value:.3g}",
                "yes" if value <= limit else "NO",
            ]


def written(tables: Tables, load: str) -> str:
    """Return all tables as text."""
    columns = (
        "model",
        "format",
        "CPU [s]",
        "wall [s]",
        "largest process [GB]",
        "times the weights",
    )
    parts = [
        f"{load} Greedy, 32 tokens from 64, one thread; tokens a CPU-second, and times PyTorch's `generate`.",
        speed_table(tables),
        tabulate([*bounds(tables)], ("bound", "closest", "", "measured", "holds"), "github"),
        tabulate(tables.exports, columns, "github", floatfmt=("", "", ".0f", ".0f", ".2f", ".3f")),
    ]
    if tables.peers:
        names = (
            "model",
            "batch",
            "PyTorch",
            "ours, ONNX Runtime",
            "peer",
            "its speed",
            "its tokens",
        )
        parts.append(tabulate(tables.peers, names, "github", floatfmt=".0f"))
    if tables.failures:
        parts.append("\n".join(f"- {line}" for line in ("Failed:", *tables.failures)))
    return "\n\n".join(parts)


def measure(models: Sequence[str], rows: Sequence[str], python: str | None, tables: Tables) -> None:
    """Measure what was asked for, one after the other."""
    for model in models:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            if model in PAIRS:
                compare(model, root, rows, tables)
            elif model in PEERS and python:
                beside(model, python, root, tables)
            elif model == "dates":
                for form in [form for form in FORMATS if form in rows]:
                    exported(DATES, root / f"dates-{form}", form, tables)


def main() -> int:
    """Measure, and write or print the tables; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="ROW")
    parser.add_argument("--peers", metavar="PYTHON")
    asked = parser.parse_args()
    if unknown := [model for model in asked.models if model not in MODELS]:
        parser.error(f"no such model: {', '.join(unknown)}")
    tables, begun = Tables(), time.monotonic()
    measure(asked.models or MODELS, asked.rows, asked.peers, tables)
    minutes = (time.monotonic() - begun) / 60
    load = (
        f"{datetime.date.today()}, one run of {minutes:.0f} minutes,"
        f" load of the machine meanwhile {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores."
    )
    text = written(tables, load)
    if asked.models or set(asked.rows) != set(ROWS):
        print(text)
    else:
        results.record(HEADING, text)
    return 1 if tables.failures else 0


if __name__ == "__main__":
    sys.exit(main())
