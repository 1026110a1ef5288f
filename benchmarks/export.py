"""Tokens a CPU-second of what `ckptconv export` writes, against PyTorch's `generate`, on one thread.

    python benchmarks/export.py [mid] [base]

Each engine generates 32 tokens from 64, greedily, in a process of its own, batch 1 and 8; the first run warms up, the
best of the next three counts. CPU seconds of the process, since the machine may have other work. All tokens must be
equal. The table goes to the end of RESULTS.md.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

HERE = Path(__file__).resolve().parent
SIZES = {
    "mid": {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
}
"""Of both sides of a bert -> bert pair with 30,522 words: 76 M parameters, and those of two bert-base."""
BATCHES, SOURCE_TOKENS, NEW_TOKENS, ROUNDS = (1, 8), 64, 32, 3
HEADING = "## export\n"
THREADS = {"OMP_NUM_THREADS": "1", "USE_TF": "0", "USE_FLAX": "0"}


def make(size: str, folder: Path) -> Path:
    """Write a random pair whose answers never end before the longest."""
    import torch
    from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel, GenerationConfig

    torch.manual_seed(0)
    own = SIZES[size]
    sides = [BertConfig(intermediate_size=4 * own["hidden_size"], **own) for _ in range(2)]
    config = EncoderDecoderConfig.from_encoder_decoder_configs(*sides)
    model = EncoderDecoderModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    tokens = {"decoder_start_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
    length = NEW_TOKENS + 1
    model.generation_config = GenerationConfig(**tokens, max_length=length, min_length=length)
    model.save_pretrained(folder)
    return folder


def inputs(batch: int) -> dict[str, Any]:
    """Return tokens and a mask without padding."""
    ids = np.random.default_rng(batch).integers(1000, 30000, (batch, SOURCE_TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def pytorch(source: Path) -> Any:
    """Return PyTorch's generate, as a user calls it."""
    import torch
    from transformers import EncoderDecoderModel

    torch.set_num_threads(1)
    model = EncoderDecoderModel.from_pretrained(source).eval()

    def answer(batch: dict[str, Any]) -> Any:
        with torch.inference_mode():
            return model.generate(
                **{name: torch.from_numpy(array) for name, array in batch.items()}
            )

    return answer


def onnxruntime(artefact: Path) -> Any:
    """Return the artefact's generate in ONNX Runtime."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(artefact / "generate.onnx", options)
    return lambda batch: session.run(["sequences"], batch)[0]


ENGINES = {"pytorch": pytorch, "onnxruntime": onnxruntime}


def measure(engine: str, path: Path) -> None:
    """Print, as JSON, tokens a CPU-second and a checksum of the tokens for each batch."""
    answer, rows = ENGINES[engine](path), []
    for batch in BATCHES:
        given, seconds = inputs(batch), []
        for _ in range(ROUNDS + 1):
            begun = time.process_time()
            tokens = np.asarray(answer(given))
            seconds.append(time.process_time() - begun)
        rows.append([batch * NEW_TOKENS / min(seconds[1:]), tokens.tolist()])
    print(json.dumps(rows))


def child(*arguments: str) -> Any:
    """Run this file for one engine, and return what it printed."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(
        command, env={**os.environ, **THREADS}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(size: str, root: Path) -> list[list[object]]:
    """Return a row for each engine and batch."""
    source, target = make(size, root / size), root / f"{size}-onnx"
    begun = time.monotonic()
    command = [sys.executable, "-m", "ckptconv", "export", str(source), str(target), "--quiet"]
    subprocess.run(command, check=True)
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    weights = (source / "model.safetensors").stat().st_size
    ratio = sum(file.stat().st_size for file in target.iterdir()) / weights
    print(
        f"{size}: exported in {seconds:.0f} s, {peak:.1f} GB at most, {ratio:.3f} times the weights"
    )
    reference, answers = child("pytorch", str(source)), child("onnxruntime", str(target))
    rows = []
    for batch, (own, tokens), (speed, answered) in zip(BATCHES, reference, answers, strict=True):
        assert tokens == answered, f"{size}, batch {batch}: other tokens"
        rows.append([size, batch, f"{own:.0f}", f"{speed:.0f}", f"{speed / own:.2f}"])
    return rows


def main(sizes: list[str]) -> None:
    """Measure, and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for size in sizes or ["mid"] for row in compare(size, Path(folder))]
    headers = ("pair", "batch", "PyTorch [tokens/CPU-s]", "ONNX Runtime", "ratio")
    text = tabulate(rows, headers, tablefmt="github")
    path = HERE / "RESULTS.md"
    before = path.read_text().partition(HEADING)[0].rstrip()
    path.write_text(f"{before}\n\n{HEADING}\n{text}\n")
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ENGINES:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
