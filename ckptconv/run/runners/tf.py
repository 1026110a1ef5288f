"""TensorFlow, with the tf-keras classes of transformers 4.57.6. Variables are float32 always."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.presence import is_file
from ckptconv.base.strict_json import Json, read_json
from ckptconv.run.runners import Array, Batch, InputSupport, Listener, Process, Runner
from ckptconv.run.runners._outputs import (
    ClassSession,
    loading_problems,
    plain_generate,
    quantities,
    set_generation,
)
from ckptconv.run.runners._tf_weights import loading_once
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.model import stands_in, without_fixes


class TensorFlowSession(ClassSession):
    """A model of TF's class."""

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Run one probe; the loss is the class's own."""
        tf = import_module("tensorflow")
        outputs = self.model(
            {name: tf.constant(array) for name, array in batch.items()},
            output_hidden_states=True,
            output_attentions=maps,
            return_dict=True,
            use_cache=False,
            training=False,
        )
        return quantities(outputs, lambda tensor: tensor.numpy())

    def generate(
        self, inputs: Batch, settings: Mapping[str, Json] | None, listener: Listener | None = None
    ) -> Array:
        """Generate eagerly; see `Session.generate`."""
        tf = import_module("tensorflow")
        transformers = import_module("transformers")

        def hear(tokens: Any, scores: Any, length: Any) -> Any:
            assert listener is not None
            listener(tokens.numpy()[:, : int(length)], scores.numpy())
            return scores

        processors = transformers.TFLogitsProcessorList([hear] if listener else [])
        set_generation(self.model, self._own, settings)
        main, *rest = inputs
        sequences: Array = plain_generate(self.model, settings)(
            tf.constant(inputs[main]),
            **{name: tf.constant(inputs[name]) for name in rest},
            logits_processor=processors,
        ).numpy()
        return sequences


class TensorFlow(Runner):
    """The classes of transformers 4.57.6 for TF."""

    name = "tf"
    process = Process(
        modules=("tensorflow", "tf_keras", "transformers"),
        extra="tf",
        distributions=("tensorflow", "tf-keras", "transformers", "h5py"),
        environment={
            "USE_TORCH": "0",
            "USE_TF": "1",
            "USE_FLAX": "0",
            "TF_USE_LEGACY_KERAS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "NVIDIA_TF32_OVERRIDE": "0",
        },
        # TensorFlow Lite's converter looks for JAX: a second, and 100 MB; Keras for SciPy, to tell a sparse matrix
        # when it meets one and to turn images: a fifth of a second
        hidden=("jax", "scipy"),
        frugal=True,
    )

    def support(self, path: Path | None) -> InputSupport:
        """Return what every model takes: everything; but a class of another family may number positions otherwise."""
        return InputSupport("TF's class", counted_positions=counts_tokens(path))

    def use_threads(self, count: int | None) -> None:
        """Set the threads of an operation; after the first one nothing changes them."""
        if count is not None and "TF_NUM_INTRAOP_THREADS" not in os.environ:
            with suppress(RuntimeError):
                import_module("tensorflow").config.threading.set_intra_op_parallelism_threads(count)

    def load(self, path: Path, precision: str, model_class: str) -> TensorFlowSession:
        """Load a model; never with `from_pt`, so the file has to be TF's own. `precision` is float32."""
        tf = import_module("tensorflow")
        tf.config.experimental.enable_tensor_float_32_execution(False)
        tf.config.optimizer.set_jit(False)
        _call_layers_plainly()
        with loading_once():
            model, info = getattr(import_module("transformers"), model_class).from_pretrained(
                str(path),
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
        return TensorFlowSession(model, loading_problems(info), settings)


def _call_layers_plainly() -> None:
    """Leave out what tf-keras wraps round each call of a layer, so that an error tells the call's arguments.

    It reads signatures for that, call by call: a tenth of a search by a small model.
    """
    with suppress(ImportError):
        tracebacks: Any = import_module("tf_keras.src.utils.traceback_utils")
        tracebacks.inject_argument_info_in_traceback = lambda function, object_name=None: function


def counts_tokens(path: Path | None) -> bool:
    """Tell whether a checkpoint's config says that a class of another family loads it, which counts all tokens."""
    if path is None or not is_file(path / "config.json"):
        return False
    config = Config(read_json(path / "config.json"), str(path / "config.json"))
    if not stands_in(config):
        return False
    family = FAMILIES.get(str(without_fixes(config).get("model_type")))
    return family is not None and family.whole is not None and family.positions == "padding"


RUNNER = TensorFlow()
