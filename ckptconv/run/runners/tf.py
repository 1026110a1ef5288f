"""TensorFlow, with the tf-keras classes of transformers 4.57.6. Variables are float32 always."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import (
    Array,
    Framework,
    Listener,
    Loaded,
    loading_problems,
    quantities,
    wants_attention,
)


def load(checkpoint: Path, precision: str = "float32") -> Loaded:
    """Load a `TFEncoderDecoderModel`; never with `from_pt`, so the file has to be TF's own. `precision` is float32."""
    tf = import_module("tensorflow")
    transformers = import_module("transformers")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.optimizer.set_jit(False)
    model, info = transformers.TFEncoderDecoderModel.from_pretrained(
        str(checkpoint),
        local_files_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    settings: dict[str, Json] = {
        "tf32": False,
        "onednn": False,
        "xla": False,
        "device": ", ".join(gpus) or "cpu",
    }
    return Loaded(model, loading_problems(info), settings)


def forward(model: Any, batch: Mapping[str, Array]) -> dict[str, Array]:
    """Run one probe; the loss is the class's own."""
    tf = import_module("tensorflow")
    inputs = {name: tf.constant(array) for name, array in batch.items()}
    outputs = model(
        inputs,
        output_hidden_states=True,
        output_attentions=wants_attention(batch),
        return_dict=True,
        use_cache=False,
        training=False,
    )
    return quantities(outputs, lambda tensor: tensor.numpy())


def generate(
    model: Any, input_ids: Array, attention_mask: Array, listener: Listener | None = None
) -> Array:
    """Generate eagerly; see `Framework.generate`."""
    tf = import_module("tensorflow")
    transformers = import_module("transformers")

    def hear(tokens: Any, scores: Any, length: Any) -> Any:
        assert listener is not None
        listener(tokens.numpy()[:, : int(length)], scores.numpy())
        return scores

    heard = transformers.TFLogitsProcessorList([hear] if listener else [])
    sequences: Array = model.generate(
        tf.constant(input_ids), attention_mask=tf.constant(attention_mask), logits_processor=heard
    ).numpy()
    return sequences


FRAMEWORK = Framework(
    name="tf",
    model_class="TFEncoderDecoderModel",
    imports=("tensorflow", "tf_keras", "transformers"),
    versions=("tensorflow", "tf-keras", "transformers", "h5py"),
    environment={
        "USE_TORCH": "0",
        "USE_TF": "1",
        "USE_FLAX": "0",
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "NVIDIA_TF32_OVERRIDE": "0",
    },
    hidden=("jax",),  # TensorFlow Lite's converter looks for it: a second, and 100 MB
    load=load,
    forward=forward,
    generate=generate,
)
