"""Time and memory of pt2tf and pt2flax for models that are no pair of text, against transformers and a durable copy.

    python benchmarks/models.py [--rounds N] [t5-base] [vit-gpt2] [whisper-small]     all unless some are named

Each is random, 0.9 to 1.0 GB, made on the disk (see make_pair.py) and removed afterwards: 3 GB of disk at a time. Rows
are whole processes, start-up included; the quick ones run in turns, and the median counts; the peers, transformers'
`from_pretrained(from_pt=True)` and `save_pretrained`, run once. Processor seconds stand beside wall seconds, since
these depend on what else the machine does; so does the load, which is measured too. Ratios are of one run. The table
goes into RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess

from bench import CKPTCONV, HERE, PYTHON, WORK, Run, in_turns, run, times_durable
from results import record
from tabulate import tabulate

HEADING = "## One piece, images and speech"
MODELS = ("t5-base", "vit-gpt2", "whisper-small")
ROUNDS = 5
CLASSES = {
    "t5-base": "T5ForConditionalGeneration",
    "vit-gpt2": "VisionEncoderDecoderModel",
    "whisper-small": "WhisperForConditionalGeneration",
}
NAMINGS = {"tf": ("TF", {"USE_JAX": "0"}), "flax": ("Flax", {"USE_TF": "0"})}
"""Way -> what its classes begin with, and what keeps the third framework out of the peer."""
COPY = "dd bs=4M conv=fsync"
COLUMNS = ("model", "process", "wall [s]", "processor [s]", "peak [MB]", "times dd")
BOUNDS = ("model", "bound", "at most", "measured", "holds")


def measure(name: str, rounds: int) -> dict[str, Run]:
    """Run every way for one model, which is made before and removed after."""
    source, out = WORK / name, WORK / "out"
    shutil.rmtree(source, ignore_errors=True)
    # by a process of its own: what this one holds counts for each that it starts
    subprocess.run([PYTHON, HERE / "make_pair.py", source, name], check=True)
    weights = source / "model.safetensors"
    copying = ("dd", "bs=4M", "conv=fsync", f"if={weights}", f"of={out}")
    try:
        for way in NAMINGS:
            run((*CKPTCONV, f"pt2{way}", source, out), out)  # what comes first compiles its modules
        runs = in_turns(
            {
                COPY: lambda: run(copying, out),
                "ckptconv pt2tf": lambda: run((*CKPTCONV, "pt2tf", source, out), out),
                "ckptconv pt2flax": lambda: run((*CKPTCONV, "pt2flax", source, out), out),
            },
            rounds,
        )
        for way, (prefix, variables) in NAMINGS.items():
            command = (PYTHON, HERE / "peers.py", f"{prefix}{CLASSES[name]}", source, out)
            runs[peer_of(way)] = run(command, out, variables)
    finally:
        shutil.rmtree(source, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
    return runs


def peer_of(way: str) -> str:
    """Return what the row of a peer is called."""
    return f"transformers: from_pt to {NAMINGS[way][0]}"


def judge(name: str, runs: dict[str, Run]) -> list[tuple[str, ...]]:
    """Hold the runs of one model against what the project promises of a bert-base pair."""
    rows: list[tuple[str, ...]] = []
    for way in NAMINGS:
        own, peer, copy = runs[f"ckptconv pt2{way}"], runs[peer_of(way)], runs[COPY]
        checks = (
            ("part of from_pt's wall time", 1 / 5, own.seconds / peer.seconds, ""),
            ("part of from_pt's processor time", 1 / 5, own.processor / peer.processor, ""),
            ("times dd", times_durable(copy.seconds), own.seconds / copy.seconds, ""),
            ("processor", 2.0, own.processor, " s"),
            ("peak", 100.0, own.megabytes, " MB"),
        )
        rows += [
            (
                name,
                f"pt2{way}, {check}",
                f"{bound:.2f}{unit}",
                f"{figure:.2f}{unit}",
                "yes" if figure <= bound else "NO",
            )
            for check, bound, figure, unit in checks
        ]
    return rows


def main() -> None:
    """Measure, print and write the tables."""
    parser = argparse.ArgumentParser(description="Measure conversions of models beyond the pair.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("names", nargs="*", metavar="MODEL")
    options = parser.parse_args()
    unknown = sorted({*options.names} - {*MODELS})
    if unknown:
        parser.error(f"no such model: {unknown[0]}; there are {', '.join(MODELS)}")
    rows: list[tuple[str, ...]] = []
    bounds: list[tuple[str, ...]] = []
    loads = [os.getloadavg()[0]]
    for name in options.names or MODELS:
        runs = measure(name, options.rounds)
        loads.append(os.getloadavg()[0])
        copy = runs[COPY].seconds
        rows += [
            (
                name,
                process,
                f"{figures.seconds:.2f}",
                f"{figures.processor:.2f}",
                f"{figures.megabytes:.0f}",
                f"{figures.seconds / copy:.2f}",
            )
            for process, figures in runs.items()
        ]
        bounds += judge(name, runs)
    load = ", ".join(f"{load:.1f}" for load in loads)
    text = (
        "Random models of one piece, of images and of speech, 0.89 to 0.97 GB; whole processes, the median of"
        f" {options.rounds} rounds, the peers once; made by `python benchmarks/models.py`. Load of the machine before"
        f" and after each model, on {os.cpu_count()} cores: {load}.\n\n"
        f"{tabulate(rows, COLUMNS, 'github', disable_numparse=True)}\n\n"
        f"{tabulate(bounds, BOUNDS, 'github', disable_numparse=True)}"
    )
    print(text)
    record(HEADING, text)


if __name__ == "__main__":
    main()
