"""A TensorFlow SavedModel that `export` wrote: tensorflow alone, no class of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import InputSupport, Process, Runner
from ckptconv.run.runners._stepwise import ProgramSession, artefact_support
from ckptconv.stores.artefact import read_artefact


class SavedModel(Runner):
    """TensorFlow's loader of SavedModels."""

    name = "savedmodel"
    process = Process(
        modules=("tensorflow",),
        extra="savedmodel",
        distributions=("tensorflow",),
        environment={
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "NVIDIA_TF32_OVERRIDE": "0",
        },
        fence=("tensorflow",),
        hidden=("jax",),
    )

    def support(self, path: Path | None) -> InputSupport:
        """Return what an artefact takes: it makes token types and positions itself."""
        return artefact_support("the SavedModel")

    def load(self, path: Path, precision: str, model_class: str) -> ProgramSession:
        """Load a SavedModel; what it computes in was fixed when it was made."""
        tf = import_module("tensorflow")
        tf.config.experimental.enable_tensor_float_32_execution(False)
        gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
        settings: dict[str, Json] = {
            "tf32": False,
            "onednn": False,
            "device": ", ".join(gpus) or "cpu",
        }
        signatures = tf.saved_model.load(str(path)).signatures

        def run(program: str, feed: Mapping[str, Any]) -> dict[str, Any]:
            specs = signatures[program].structured_input_signature[1]
            tensors = {
                name: array if tf.is_tensor(array) else tf.constant(array, specs[name].dtype)
                for name, array in feed.items()
            }
            return dict(signatures[program](**tensors))

        return ProgramSession(read_artefact(path), run, settings)


RUNNER = SavedModel()
