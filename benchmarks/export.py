"""Tokens a CPU-second of what `ckptconv export` writes, against `generate` of PyTorch's and TF's class, on one thread.

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
import results
from tabulate import tabulate

SIZES = {
    "mid": {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
}
"""Of both sides of a bert -> bert pair with 30,522 words: 76 M parameters, and those of two bert-base."""
BATCHES, SOURCE_TOKENS, NEW_TOKENS, ROUNDS = (1, 8), 64, 32, 3
HEADING = "## export"
THREADS = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
    "HF_HUB_OFFLINE": "1",
}
FORMATS = ("onnx", "savedmodel")


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


def savedmodel(artefact: Path) -> Any:
    """Return the artefact's generate in TensorFlow."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = tf.saved_model.load(str(artefact))
    call = model.signatures["generate"]
    return lambda batch: call(**{name: tf.constant(array) for name, array in batch.items()})[
        "sequences"
    ].numpy()


def tf_class(checkpoint: Path) -> Any:
    """Return the generate of TF's class, of what `pt2tf` wrote."""
    import tensorflow as tf
    from transformers import TFEncoderDecoderModel

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = TFEncoderDecoderModel.from_pretrained(checkpoint)
    return lambda batch: model.generate(
        **{name: tf.constant(array, tf.int32) for name, array in batch.items()}
    ).numpy()


ENGINES = {
    "pytorch": pytorch,
    "onnxruntime": onnxruntime,
    "savedmodel": savedmodel,
    "tf_class": tf_class,
}


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


def exported(source: Path, target: Path, form: str) -> list[object]:
    """Export; return CPU seconds, the largest process [GB], and size in parts of the weights."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "ckptconv", "export", str(source), str(target)]
    begun = time.monotonic()
    subprocess.run([*command, "--format", form, "--quiet"], check=True)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    weights = (source / "model.safetensors").stat().st_size
    files = (file for file in target.rglob("*") if file.is_file())
    ratio = sum(file.stat().st_size for file in files) / weights
    return [f"{seconds:.0f}", f"{wall:.0f}", f"{after.ru_maxrss / 1e6:.1f}", f"{ratio:.3f}"]


def compare(size: str, root: Path) -> tuple[list[list[object]], list[list[object]]]:
    """Return a row for each format's export, and one for each batch."""
    source = make(size, root / size)
    targets = {form: root / f"{size}-{form}" for form in FORMATS}
    exports = [[size, form, *exported(source, target, form)] for form, target in targets.items()]
    command = [sys.executable, "-m", "ckptconv", "pt2tf", str(source), str(root / f"{size}-tf")]
    subprocess.run([*command, "--quiet"], check=True)
    paths = (source, targets["onnx"], targets["savedmodel"], root / f"{size}-tf")
    answers = [child(name, str(path)) for name, path in zip(ENGINES, paths, strict=True)]
    rows: list[list[object]] = []
    for number, batch in enumerate(BATCHES):
        speeds = [engine[number][0] for engine in answers]
        assert all(engine[number][1] == answers[0][number][1] for engine in answers), "other tokens"
        ratios = [f"{speed:.0f} ({speed / speeds[0]:.2f})" for speed in speeds[1:]]
        rows.append([size, batch, f"{speeds[0]:.0f}", *ratios])
    return exports, rows


def main(sizes: list[str]) -> None:
    """Measure, and write the tables."""
    exports, rows = list[list[object]](), list[list[object]]()
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes or ["mid"]:
            for table, part in zip((exports, rows), compare(size, Path(folder)), strict=True):
                table += part
    engines = ("ONNX Runtime (ratio)", "SavedModel (ratio)", "TF class (ratio)")
    speed = tabulate(rows, ("pair", "batch", "PyTorch [tokens/CPU-s]", *engines), "github")
    columns = ("pair", "format", "CPU [s]", "wall [s]", "largest process [GB]", "times the weights")
    load = f"Load of the machine while it was measured: {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores."
    text = f"{load}\n\n{speed}\n\n{tabulate(exports, columns, 'github')}"
    results.record(HEADING, text)
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ENGINES:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
