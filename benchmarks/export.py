"""Tokens a CPU-second of what `ckptconv export` writes, against `generate` of PyTorch's and TF's class, on one thread.

    python benchmarks/export.py [--peers PYTHON] [mid] [base]

Each engine generates 32 tokens from 64, greedily, in a process of its own, batch 1 and 8; the first run warms up, the
best of the next three counts. CPU seconds of the process, since the machine may have other work. The tokens of ours
must equal PyTorch's. PYTHON is the interpreter of a virtual environment that sees this one's packages and has
ctranslate2, optimum and optimum-onnx besides. The tables go into RESULTS.md, in the place of the last ones.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import results
from export_engines import BATCHES
from export_models import SIZES
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
FORMATS = {"onnx": "onnxruntime", "savedmodel": "savedmodel", "jax": "jax", "litert": ""}
"""Format -> the engine that runs it here; LiteRT has none that generates in one call."""
PEERS = {"bart": "ctranslate2", "roberta2gpt2": "optimum"}
"""Model -> who else generates with it; both are of the middle size."""
GIGABYTE, EXPORT_SECONDS, EXPORT_GIGABYTES, TIMES_WEIGHTS = 1e9, 180, 6, 1.05
Row: TypeAlias = list[Any]


def make(name: str, folder: Path) -> Path:
    """Write a model, in a process of its own: what this one holds would count for each that it starts."""
    subprocess.run([sys.executable, HERE / "export_models.py", name, folder], check=True)
    return folder


def measured(engine: str, path: Path, python: str = sys.executable) -> Any:
    """Run one engine; return tokens a CPU-second and tokens, for each batch."""
    command = [python, str(HERE / "export_engines.py"), engine, str(path)]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{engine} of {path.name} failed:\n{done.stderr[-3000:]}")
    rows = json.loads(done.stdout.splitlines()[-1])
    print(path.name, engine, *(f"{speed:.1f}" for speed, _ in rows), file=sys.stderr)
    return rows


def exported(source: Path, target: Path, form: str) -> Row:
    """Export; return CPU and wall seconds, the largest process [GB], and size in parts of the weights."""
    command = [sys.executable, "-m", "ckptconv", "export", str(source), str(target)]
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, "--format", form, "--quiet"], env={**os.environ, **ENVIRONMENT}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"exporting {source.name} to {form} failed")
    wall, seconds = time.monotonic() - begun, usage.ru_utime + usage.ru_stime
    weights = (source / "model.safetensors").stat().st_size
    files = (file for file in target.rglob("*") if file.is_file())
    ratio = sum(file.stat().st_size for file in files) / weights
    row = [seconds, wall, usage.ru_maxrss * 1024 / GIGABYTE, ratio]
    print(target.name, *(f"{value:.3f}" for value in row), file=sys.stderr)
    return row


def compare(size: str, root: Path) -> tuple[list[Row], list[Row]]:
    """Return a row for each format's export, and one for each batch: tokens a CPU-second, PyTorch's first."""
    source, exports = make(size, root / size), list[Row]()
    answers = [measured("pytorch", source)]
    for form, engine in FORMATS.items():
        exports.append([size, form, *exported(source, root / f"{size}-{form}", form)])
        if engine:
            answers.append(measured(engine, root / f"{size}-{form}"))
    target = root / f"{size}-tf"
    command = [sys.executable, "-m", "ckptconv", "pt2tf", str(source), str(target), "--quiet"]
    subprocess.run(command, check=True)
    answers.append(measured("tf_class", target))
    for engine in answers:
        assert [tokens for _, tokens in engine] == [tokens for _, tokens in answers[0]]
    rows = [
        [size, batch, *(engine[number][0] for engine in answers)]
        for number, batch in enumerate(BATCHES)
    ]
    return exports, rows


def beside(python: str, root: Path) -> Iterator[Row]:
    """Yield a row for each peer and batch: PyTorch, ours in ONNX Runtime, the peer, and whether it gives the same."""
    for name, peer in PEERS.items():
        source = make(name, root / name)
        exported(source, root / f"{name}-onnx", "onnx")
        paths = {"pytorch": source, "onnxruntime": root / f"{name}-onnx"}
        answers = [measured(engine, path) for engine, path in paths.items()]
        answers.append(measured(peer, source, python))
        for number, batch in enumerate(BATCHES):
            speeds, tokens = zip(*(engine[number] for engine in answers), strict=True)
            assert tokens[1] == tokens[0], name
            same = "same" if tokens[2] == tokens[0] else "others"
            yield [name, batch, speeds[0], speeds[1], peer, speeds[2], same]


def speed_table(rows: Sequence[Row]) -> str:
    """Return speeds and, in brackets, how many times PyTorch's they are."""
    names = ("ONNX Runtime", "SavedModel", "JAX", "TF class")
    text = [
        [size, batch, f"{own:.0f}", *(f"{speed:.0f} ({speed / own:.2f})" for speed in speeds)]
        for size, batch, own, *speeds in rows
    ]
    return str(tabulate(text, ("pair", "batch", "PyTorch", *names), "github"))


def bounds(rows: Sequence[Row], exports: Sequence[Row]) -> Iterator[Row]:
    """Yield each bound, what was measured where it is closest to it, and whether it holds."""
    own, onnx, tensorflow, _, tf_class = zip(*(row[2:] for row in rows), strict=True)
    least: Mapping[str, tuple[float, Any, Any]] = {
        "ONNX Runtime / PyTorch": (1.5, onnx, own),
        "SavedModel / PyTorch": (1.2, tensorflow, own),
        "SavedModel / TF class": (4, tensorflow, tf_class),
    }
    for name, (bound, above, below) in least.items():
        ratio = min(one / two for one, two in zip(above, below, strict=True))
        yield [name, f"at least {bound}", f"{ratio:.2f}", "yes" if ratio >= bound else "NO"]
    large = [row for row in exports if row[0] in SIZES]
    most = {
        "export, wall [s]": (EXPORT_SECONDS, max(row[3] for row in large)),
        "export, largest process [GB]": (EXPORT_GIGABYTES, max(row[4] for row in large)),
        "artefact / weights": (TIMES_WEIGHTS, max(row[5] for row in large)),
    }
    for name, (limit, value) in most.items():
        yield [name, f"at most {limit}", f"{value:.3g}", "yes" if value <= limit else "NO"]


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", choices=(*SIZES, []), default=[])
    parser.add_argument("--peers", metavar="PYTHON")
    asked = parser.parse_args()
    exports, rows, peers = list[Row](), list[Row](), list[Row]()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for form in FORMATS:
            exports.append(["dates", form, *exported(DATES, root / f"dates-{form}", form)])
        for size in asked.sizes or SIZES:
            for table, part in zip((exports, rows), compare(size, root), strict=True):
                table += part
        if asked.peers:
            peers += beside(asked.peers, root)
    columns = (
        "model",
        "format",
        "CPU [s]",
        "wall [s]",
        "largest process [GB]",
        "times the weights",
    )
    load = f"{datetime.date.today()}, load of the machine meanwhile {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores."
    tables = [
        f"{load} Greedy, 32 tokens from 64, one thread; tokens a CPU-second, and times PyTorch's `generate`.",
        speed_table(rows),
        tabulate([*bounds(rows, exports)], ("bound", "", "measured", "holds"), "github"),
        tabulate(exports, columns, "github", floatfmt=("", "", ".0f", ".0f", ".2f", ".3f")),
    ]
    if peers:
        names = (
            "model",
            "batch",
            "PyTorch",
            "ours, ONNX Runtime",
            "peer",
            "its speed",
            "its tokens",
        )
        tables.append(tabulate(peers, names, "github", floatfmt=".0f"))
    results.record(HEADING, "\n\n".join(tables))


if __name__ == "__main__":
    main()
