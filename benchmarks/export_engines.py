"""What generates in `export.py`, each in a process of its own, on one thread: `export_engines.py ENGINE PATH`.

An engine loads a checkpoint or an artefact and returns a function from a batch to tokens. Libraries are imported inside
functions: the peers' are in a virtual environment of their own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

BATCHES, SOURCE_TOKENS, NEW_TOKENS, ROUNDS = (1, 8), 64, 32, 3
ENOUGH = 15
"""CPU seconds after which no further round is run."""
Batch: TypeAlias = dict[str, Any]
Engine: TypeAlias = Callable[[Batch], Any]


def inputs(batch: int) -> Batch:
    """Return tokens and a mask without padding."""
    ids = np.random.default_rng(batch).integers(1000, 30000, (batch, SOURCE_TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def pytorch(source: Path) -> Engine:
    """Return PyTorch's generate, as a user calls it."""
    import torch
    import transformers

    torch.set_num_threads(1)
    (name,) = json.loads((source / "config.json").read_text())["architectures"]
    model = getattr(transformers, name).from_pretrained(source).eval()

    def answer(batch: Batch) -> Any:
        with torch.inference_mode():
            return model.generate(
                **{name: torch.from_numpy(array) for name, array in batch.items()}
            )

    return answer


def onnxruntime(artefact: Path) -> Engine:
    """Return the artefact's generate in ONNX Runtime."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(artefact / "generate.onnx", options)
    return lambda batch: session.run(["sequences"], batch)[0]


def _one_thread() -> Any:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def savedmodel(artefact: Path) -> Engine:
    """Return the artefact's generate in TensorFlow."""
    tf = _one_thread()
    model = tf.saved_model.load(str(artefact))
    call = model.signatures["generate"]

    def answer(batch: Batch, *, _model: Any = model) -> Any:
        tensors = {name: tf.constant(array) for name, array in batch.items()}
        return call(**tensors)["sequences"].numpy()

    return answer


def tf_class(checkpoint: Path) -> Engine:
    """Return the generate of TF's class, of what `pt2tf` wrote."""
    tf = _one_thread()
    from transformers import TFEncoderDecoderModel

    model = TFEncoderDecoderModel.from_pretrained(checkpoint)
    return lambda batch: model.generate(
        **{name: tf.constant(array, tf.int32) for name, array in batch.items()}
    ).numpy()


def jax(artefact: Path) -> Engine:
    """Return the artefact's generate in JAX, by the loader beside it; compiling is part of the first run."""
    sys.path.insert(0, str(artefact))
    from load import Model  # type: ignore[import-not-found]

    model = Model(artefact)
    return lambda batch: model.generate(**batch)["sequences"]


def ctranslate2(source: Path) -> Engine:
    """Return CTranslate2's search of a checkpoint, converted by its own converter, in float32."""
    import ctranslate2 as runtime  # type: ignore[import-not-found]

    target = source.with_name(f"{source.name}-ctranslate2")
    runtime.converters.TransformersConverter(str(source)).convert(str(target), force=True)
    translator = runtime.Translator(
        str(target), inter_threads=1, intra_threads=1, compute_type="float32"
    )

    def answer(batch: Batch) -> Any:
        words = [[f"w{token}" for token in row] for row in batch["input_ids"]]
        results = translator.translate_batch(
            words, beam_size=1, min_decoding_length=NEW_TOKENS, max_decoding_length=NEW_TOKENS
        )
        return [[int(word[1:]) for word in result.hypotheses[0]] for result in results]

    return answer


def optimum(source: Path) -> Engine:
    """Return the generate of optimum's classes, which exports first, with caches, and loops in Python."""
    import onnxruntime as runtime
    import torch
    from optimum.onnxruntime import ORTModelForSeq2SeqLM  # type: ignore[import-not-found]

    torch.set_num_threads(1)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    model = ORTModelForSeq2SeqLM.from_pretrained(
        source, export=True, use_cache=True, session_options=options
    )
    return lambda batch: model.generate(
        **{name: torch.from_numpy(array) for name, array in batch.items()}
    ).numpy()


ENGINES: dict[str, Callable[[Path], Engine]] = {
    "pytorch": pytorch,
    "onnxruntime": onnxruntime,
    "savedmodel": savedmodel,
    "jax": jax,
    "tf_class": tf_class,
    "ctranslate2": ctranslate2,
    "optimum": optimum,
}


def measure(engine: str, path: Path) -> None:
    """Print, as JSON, tokens a CPU-second and the new tokens, for each batch."""
    answer, rows = ENGINES[engine](path), []
    for size in BATCHES:
        batch, seconds = inputs(size), []
        while len(seconds) < 2 or (len(seconds) <= ROUNDS and sum(seconds[1:]) < ENOUGH):
            begun = time.process_time()
            tokens = np.asarray(answer(batch))
            seconds.append(time.process_time() - begun)
        new = tokens[:, -NEW_TOKENS:].tolist()
        rows.append([size * NEW_TOKENS / min(seconds[1:]), new])
    print(json.dumps(rows))


if __name__ == "__main__":
    measure(sys.argv[1], Path(sys.argv[2]))
