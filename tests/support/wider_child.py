"""Load checkpoints with one framework's classes and answer the same inputs: a process of its own for each framework.

    python wider_child.py FRAMEWORK JOBS.json ANSWERS.npz

JOBS is a list of [name, class, folder]. For each the logits and greedy tokens are stored as `NAME logits` and
`NAME tokens`, in PyTorch also `NAME exact` in float64; `NAME problems` says what the class missed while it loaded.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import import_module
from typing import Any

import numpy as np

TARGET = np.array([[5, 6, 7, 8], [8, 9, 5, 11]])
NEW_TOKENS = 6


def inputs(config: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return two rows of what the encoder reads, by the name that PyTorch's class gives it."""
    half = getattr(config, "encoder", config)
    noise = np.random.default_rng(7)

    def draw(*shape: int) -> np.ndarray[Any, Any]:
        return noise.normal(size=shape).astype(np.float32)

    if hasattr(half, "num_mel_bins"):
        return {"input_features": draw(2, half.num_mel_bins, 2 * half.max_source_positions)}
    if hasattr(half, "input_feat_per_channel"):
        return {"input_features": draw(2, 20, half.input_feat_per_channel)}
    if hasattr(half, "conv_stride"):
        return {"input_values": draw(2, 1200)}
    if hasattr(half, "patch_size"):
        size = half.image_size
        sides = size if isinstance(size, list | tuple) else [size, size]
        return {"pixel_values": draw(2, half.num_channels, *sides)}
    return {"input_ids": np.array([[5, 6, 7, 8, 9, 10], [9, 8, 7, 6, 5, 12]])}


def settings(config: Any) -> dict[str, Any]:
    """Return how to generate: no cache, since some classes crash with it, and never an end."""
    decoder = getattr(config, "decoder", config)
    pad = decoder.pad_token_id or 0
    return {
        "max_length": NEW_TOKENS + 1,
        "min_length": NEW_TOKENS + 1,
        "do_sample": False,
        "num_beams": 1,
        "decoder_start_token_id": config.decoder_start_token_id or 3,
        "pad_token_id": pad,
        "eos_token_id": 2,
        "forced_eos_token_id": None,
    }


def pytorch(whole: Any, folder: str) -> dict[str, Any]:
    """Answer in float32 and float64."""
    torch = import_module("torch")
    torch.set_num_threads(1)
    model, info = whole.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    model.eval()
    ids = torch.from_numpy(TARGET)
    feed = {key: torch.from_numpy(value) for key, value in inputs(model.config).items()}
    with torch.inference_mode():
        logits = model(**feed, decoder_input_ids=ids).logits.numpy()
        try:
            tokens = model.generate(**feed, **settings(model.config), use_cache=False).numpy()
        except Exception as error:
            tokens = np.array(f"{type(error).__name__}: {error}"[:200])
        try:
            wide = {
                key: value.double() if value.is_floating_point() else value
                for key, value in feed.items()
            }
            exact = model.double()(**wide, decoder_input_ids=ids).logits.numpy()
        except RuntimeError:  # LED and Speech2Text put float64's least number into a float32 mask
            exact = logits
    problems = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    return {"logits": logits, "exact": exact, "tokens": tokens, "problems": problems}


def tf(whole: Any, folder: str) -> dict[str, Any]:
    """Answer eagerly."""
    tensorflow = import_module("tensorflow")
    model, info = whole.from_pretrained(folder, output_loading_info=True)
    feed = {key: tensorflow.constant(value) for key, value in inputs(model.config).items()}
    logits = model(
        {**feed, "decoder_input_ids": tensorflow.constant(TARGET)}, training=False
    ).logits
    try:
        tokens = model.generate(**feed, **settings(model.config)).numpy()
    except Exception as error:
        tokens = np.array(f"{type(error).__name__}: {error}"[:200])
    problems = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    return {"logits": logits.numpy(), "tokens": tokens, "problems": problems}


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage()[:300])


def flax(whole: Any, folder: str) -> dict[str, Any]:
    """Answer operation by operation; what was missed stands in warnings alone."""
    jnp = import_module("jax.numpy")
    if not hasattr(jnp.clip, "widened"):
        clip = jnp.clip

        def widened(a: Any, a_min: Any = None, a_max: Any = None, **rest: Any) -> Any:
            return clip(a, rest.pop("min", a_min), rest.pop("max", a_max), **rest)

        widened.widened = True  # type: ignore[attr-defined]
        jnp.clip = widened
    heard = _Warnings()
    logger = logging.getLogger("transformers.modeling_flax_utils")
    logger.addHandler(heard)
    model = whole.from_pretrained(folder)
    logger.removeHandler(heard)
    feed = dict(inputs(model.config))
    if "input_values" in feed:
        feed = {"inputs": feed["input_values"]}
    logits = model(**feed, decoder_input_ids=TARGET).logits
    try:
        main = next(iter(feed.values()))
        tokens = model.generate(main, **settings(model.config)).sequences
    except Exception as error:
        tokens = np.array(f"{type(error).__name__}: {error}"[:200])
    return {"logits": np.asarray(logits), "tokens": np.asarray(tokens), "problems": heard.lines}


def main(arguments: list[str]) -> None:
    """Answer every job, a failure as a problem of its own."""
    framework, jobs, answers = arguments
    transformers = import_module("transformers")
    arrays: dict[str, Any] = {}
    for name, whole, folder in json.loads(open(jobs).read()):  # noqa: PTH123, SIM115
        try:
            answer = {"pytorch": pytorch, "tf": tf, "flax": flax}[framework](
                getattr(transformers, whole), folder
            )
        except Exception as error:
            answer = {"problems": [f"{type(error).__name__}: {error}"[:300]]}
        for key, value in answer.items():
            arrays[f"{name} {key}"] = (
                np.array([str(line) for line in value]) if key == "problems" else value
            )
    np.savez(answers, **arrays)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning")
    main(sys.argv[1:])
