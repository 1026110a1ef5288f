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
from ckptconv.run.runners import Array, Batch, InputSupport, Listener, Process, Runner
from ckptconv.run.runners._old_clip import GIVEN_BACK, give_back_clip
from ckptconv.run.runners._outputs import (
    ClassSession,
    cross_entropy,
    plain_generate,
    quantities,
    set_generation,
)

WARNING_KINDS = {
    "were not used when initializing": "unexpected",
    "shapes did not match": "mismatched",
    "newly initialized": "missing",
}
"""Words of a warning in transformers/modeling_flax_utils.py (4.57.6, lines 988 to 1026) -> what they mean.

In this order: the warning about shapes says "newly initialized" as well."""


NAMES = {"input_values": "inputs"}
"""PyTorch's name of an input -> Flax's, where it has another."""


class _Warnings(logging.Handler):
    """Keeps what the class says while it loads: Flax has no `output_loading_info`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def loading_problems(messages: list[str]) -> tuple[str, ...]:
    """Return what the warnings say of tensors, one line a tensor, sorted; other warnings are left out."""
    problems = []
    for message in messages:
        kind = next((kind for words, kind in WARNING_KINDS.items() if words in message), None)
        if kind is not None:
            problems += [f"{kind} {name}" for name in _names(message)]
    return tuple(sorted(problems))


def _names(message: str) -> list[str]:
    """Return the tensor names in a warning: from a printed set of paths, or from lines `- name: ...`."""
    printed = re.search(r"\{\(.*?\)\}", message, re.DOTALL)
    if printed:
        return ["/".join(path) for path in ast.literal_eval(printed.group())]
    listed = re.findall(r"^- (.+?): found shape.*$", message, re.MULTILINE)
    return listed or [message.strip().splitlines()[0]]


class FlaxSession(ClassSession):
    """A model of Flax's class."""

    compiles = True

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Run one probe, operation by operation; the class gives no loss, so it is computed from its logits."""
        jax = import_module("jax")
        outputs = self.model(
            **_arrays(
                {NAMES.get(name, name): array for name, array in batch.items() if name != "labels"}
            ),
            output_hidden_states=True,
            output_attentions=maps,
            return_dict=True,
            train=False,
        )
        arrays = quantities(outputs, jax.device_get)
        if "labels" in batch:
            arrays["loss"] = cross_entropy(arrays["logits"], batch["labels"])
        return arrays

    def generate(
        self, inputs: Batch, settings: Mapping[str, Json] | None, listener: Listener | None = None
    ) -> Array:
        """Generate; see `Session.generate`. Rows have the full length, padded after the end.

        With a listener step by step, as the class offers for debugging: compiled steps tell nothing.
        """
        jax, transformers = import_module("jax"), import_module("transformers")

        def hear(tokens: Any, scores: Any, length: Any) -> Any:
            assert listener is not None
            listener(np.asarray(tokens)[:, : int(length)], np.asarray(scores))
            return scores

        set_generation(self.model, self._own, settings)
        main, *rest = _arrays(inputs).items()
        outputs = plain_generate(self.model, settings)(
            main[1],
            **dict(rest),
            logits_processor=transformers.FlaxLogitsProcessorList([hear] if listener else []),
            trace=listener is None,
        )
        sequences: Array = jax.device_get(outputs.sequences)
        return sequences


def _arrays(batch: Batch) -> dict[str, Any]:
    """Return a probe as JAX's arrays: integers as int32, the widest that it has here."""
    jnp = import_module("jax.numpy")
    return {
        name: jnp.asarray(array, "int32" if array.dtype.kind in "iu" else "float32")
        for name, array in batch.items()
    }


class Flax(Runner):
    """The classes of transformers 4.57.6 for Flax."""

    name = "flax"
    process = Process(
        modules=("jax", "flax", "transformers"),
        extra="flax",
        distributions=("jax", "jaxlib", "flax", "transformers"),
        environment={
            "USE_TORCH": "0",
            "USE_TF": "0",
            "USE_FLAX": "1",
            "USE_JAX": "1",
            "JAX_DEFAULT_MATMUL_PRECISION": "highest",
            "JAX_ENABLE_X64": "0",
            "NVIDIA_TF32_OVERRIDE": "0",
        },
    )

    def support(self, path: Path | None) -> InputSupport:
        """Return what the composite class takes: it makes the positions itself, and has no token types."""
        return InputSupport("Flax's class", token_types=False, counted_positions=True)

    def load(self, path: Path, precision: str, model_class: str) -> FlaxSession:
        """Load a model, its parameters widened to float32 where they are narrower. `precision` is float32."""
        jax = import_module("jax")
        t5 = "T5" in model_class and give_back_clip()
        logger = logging.getLogger("transformers.modeling_flax_utils")
        warnings = _Warnings()
        logger.addHandler(warnings)
        try:
            transformers_class = getattr(import_module("transformers"), model_class)
            model = _without_drawing(transformers_class).from_pretrained(
                str(path), local_files_only=True, ignore_mismatched_sizes=True
            )
        finally:
            logger.removeHandler(warnings)
        model.params = model.to_fp32(model.params)
        settings: dict[str, Json] = {
            "matmul precision": "highest",
            "x64": False,
            "traced": False,
            "device": jax.default_backend(),
            **({"jnp.clip": GIVEN_BACK} if t5 else {}),
        }
        return FlaxSession(model, loading_problems(warnings.messages), settings)


def _without_drawing(transformers_class: Any) -> Any:
    """Return the class whose parameters begin as zeros, of the shapes that it would draw; for a cache it draws none.

    It says itself what it does not find. To draw 247 million numbers, by a forward pass that is compiled operation by
    operation, takes seconds and a gigabyte.
    """
    jax = import_module("jax")

    def init_weights(self: Any, rng: Any, input_shape: Any, params: Any = None) -> Any:
        def usual(key: Any) -> Any:
            return transformers_class.init_weights(self, key, input_shape, params)

        if params is not None:
            return usual(rng)
        shapes = jax.eval_shape(usual, rng)
        return jax.tree_util.tree_map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

    def init_cache(self: Any, batch_size: int, max_length: int, *rest: Any, **named: Any) -> Any:
        """Return the class's own cache, compiled: nothing in it needs the parameters that the class draws for it."""

        def usual(rest: Any, named: Any) -> Any:
            return transformers_class.init_cache(self, batch_size, max_length, *rest, **named)

        return jax.jit(usual)(rest, named)

    return type(
        transformers_class.__name__,
        (transformers_class,),
        {
            "init_weights": init_weights,
            "init_cache": init_cache,
            "__module__": transformers_class.__module__,
        },
    )


RUNNER = Flax()
