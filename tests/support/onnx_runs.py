"""Runs of ONNX artefacts in a process that can import neither PyTorch nor transformers.

As a program, `onnx_runs.py ARTEFACT IN.npz OUT.npz`, it is that process: it steps through given tokens with
noise in the buffers beyond each position, and generates.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

BLOCKED = ("torch", "transformers", "tensorflow", "jax", "onnx", "onnxscript")
CONTROL = "control."
"""How names of controls begin among the inputs."""


def run(artefact: Path, folder: Path, **arrays: Any) -> dict[str, Any]:
    """Run an artefact; return `sequences`, perhaps `scores`, and `logits` where `decoder_input_ids` are given.

    Raises: RuntimeError: it refused; the message is the end of its output.
    """
    given, answers = folder / "given.npz", folder / "answers.npz"
    np.savez(given, **arrays)
    command = [sys.executable, "-P", __file__, str(artefact), str(given), str(answers)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    with np.load(answers) as loaded:
        return dict(loaded)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(path, options)


def _logits(artefact: Path, inputs: Mapping[str, Any], tokens: Any) -> Any:
    """Return the logits of every cached step over given tokens: (rows, steps, vocabulary)."""
    encoder, step = _session(artefact / "encoder.onnx"), _session(artefact / "decoder_step.onnx")
    taken = {value.name for value in encoder.get_inputs()}
    names = [value.name for value in encoder.get_outputs()]
    answers = encoder.run(None, {name: inputs[name] for name in taken})
    cross = dict(zip(names[1:], answers[1:], strict=True))
    rows, length = tokens.shape
    own = [value for value in step.get_inputs() if "_self_" in value.name]
    noise = np.random.default_rng(0)
    caches = {
        value.name: noise.standard_normal(
            (rows, value.shape[1], length + 2, value.shape[3]), np.float32
        )
        for value in own
    }
    wanted = {value.name for value in step.get_inputs()}
    logits = []
    for place in range(length):
        feed = {"decoder_input_ids": tokens[:, place : place + 1], "position": np.array(place)}
        feed |= {name: inputs[name] for name in taken} | cross | caches
        first, *rest = step.run(None, {name: feed[name] for name in wanted})
        logits.append(first)
        caches = dict(zip(caches, rest, strict=True))
    return np.stack(logits, 1)


def _main(artefact: Path, given: Path, answers: Path) -> None:
    for name in BLOCKED:
        sys.modules[name] = None  # type: ignore[assignment]
    with np.load(given) as loaded:
        inputs = dict(loaded)
    results: dict[str, Any] = {}
    tokens = inputs.pop("decoder_input_ids", None)
    if tokens is not None:
        results["logits"] = _logits(artefact, inputs, tokens)
    if (artefact / "generate.onnx").exists():
        session = _session(artefact / "generate.onnx")
        names = [value.name for value in session.get_outputs()]
        feed = {name.removeprefix(CONTROL): array for name, array in inputs.items()}
        results |= dict(zip(names, session.run(None, feed), strict=True))
    np.savez(answers, **results)


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
