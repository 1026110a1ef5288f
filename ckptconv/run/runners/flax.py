"""Flax (linen, on JAX), with the classes of transformers 4.57.6."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import (
    Array,
    Framework,
    Listener,
    Loaded,
    cross_entropy,
    quantities,
    wants_attention,
)

SAYS = {
    "were not used when initializing": "unexpected",
    "shapes did not match": "mismatched",
    "newly initialized": "missing",
}
"""Words of a warning in transformers/modeling_flax_utils.py (4.57.6, lines 988 to 1026) -> what they mean.

In this order: the warning about shapes says "newly initialized" as well."""


class _Warnings(logging.Handler):
    """Keeps what the class says while it loads: Flax has no `output_loading_info`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def loading_problems(messages: list[str]) -> tuple[str, ...]:
    """Return what the warnings say of tensors, one line a tensor, sorted; other warnings are left out."""
    found = []
    for message in messages:
        kind = next((kind for words, kind in SAYS.items() if words in message), None)
        if kind is not None:
            found += [f"{kind} {name}" for name in _names(message)]
    return tuple(sorted(found))


def _names(message: str) -> list[str]:
    """Return the tensor names in a warning: from a printed set of paths, or from lines `- name: ...`."""
    printed = re.search(r"\{\(.*?\)\}", message, re.DOTALL)
    if printed:
        return ["/".join(path) for path in ast.literal_eval(printed.group())]
    listed = re.findall(r"^- (.+?): found shape.*$", message, re.MULTILINE)
    return listed or [message.strip().splitlines()[0]]


def load(checkpoint: Path, precision: str = "float32") -> Loaded:
    """Load a `FlaxEncoderDecoderModel`, its parameters widened to float32 where they are narrower.

    `precision` is float32.
    """
    jax = import_module("jax")
    transformers = import_module("transformers")
    logger = logging.getLogger("transformers.modeling_flax_utils")
    heard = _Warnings()
    logger.addHandler(heard)
    try:
        model = transformers.FlaxEncoderDecoderModel.from_pretrained(
            str(checkpoint), local_files_only=True, ignore_mismatched_sizes=True
        )
    finally:
        logger.removeHandler(heard)
    model.params = model.to_fp32(model.params)
    settings: dict[str, Json] = {
        "matmul precision": "highest",
        "x64": False,
        "traced": False,
        "device": jax.default_backend(),
    }
    return Loaded(model, loading_problems(heard.messages), settings)


def forward(model: Any, batch: Mapping[str, Array]) -> dict[str, Array]:
    """Run one probe, operation by operation; the class gives no loss, so it is computed here from its logits."""
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    inputs = {
        name: jnp.asarray(array, "int32") for name, array in batch.items() if name != "labels"
    }
    outputs = model(
        **inputs,
        output_hidden_states=True,
        output_attentions=wants_attention(batch),
        return_dict=True,
        train=False,
    )
    found = quantities(outputs, jax.device_get)
    if "labels" in batch:
        found["loss"] = cross_entropy(found["logits"], batch["labels"])
    return found


def generate(
    model: Any, input_ids: Array, attention_mask: Array, listener: Listener | None = None
) -> Array:
    """Generate; see `Framework.generate`. Rows have the full length, padded after the end.

    With a listener step by step, as the class offers for debugging: compiled steps tell nothing.
    """
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    transformers = import_module("transformers")

    def hear(tokens: Any, scores: Any, length: Any) -> Any:
        assert listener is not None
        listener(np.asarray(tokens)[:, : int(length)], np.asarray(scores))
        return scores

    outputs = model.generate(
        jnp.asarray(input_ids, "int32"),
        attention_mask=jnp.asarray(attention_mask, "int32"),
        logits_processor=transformers.FlaxLogitsProcessorList([hear] if listener else []),
        trace=listener is None,
    )
    sequences: Array = jax.device_get(outputs.sequences)
    return sequences


FRAMEWORK = Framework(
    name="flax",
    model_class="FlaxEncoderDecoderModel",
    imports=("jax", "flax", "transformers"),
    versions=("jax", "jaxlib", "flax", "transformers"),
    environment={
        "USE_TORCH": "0",
        "USE_TF": "0",
        "USE_FLAX": "1",
        "USE_JAX": "1",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "JAX_ENABLE_X64": "0",
        "NVIDIA_TF32_OVERRIDE": "0",
    },
    load=load,
    forward=forward,
    generate=generate,
)
