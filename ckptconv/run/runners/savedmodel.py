"""A TensorFlow SavedModel that `export` wrote: tensorflow alone, no class of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport, Process, Runner
from ckptconv.run.runners._stepwise import OWN, StepwiseSession, own_settings
from ckptconv.stores.artefact import read_artefact


class SavedModelSession(StepwiseSession):
    """A loaded SavedModel, called through its signatures."""

    def __init__(self, model: Any, settings: Mapping[str, Json]) -> None:
        """Take what `tf.saved_model.load` returned."""
        self.model, self.settings = model, settings
        specs = self._specs("encode")
        main = [name for name in specs if name != "attention_mask"]
        self.takes = (*main, *(name for name in specs if name == "attention_mask"))

    def _specs(self, signature: str) -> dict[str, Any]:
        return dict(self.model.signatures[signature].structured_input_signature[1])

    def _call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        tf, specs = import_module("tensorflow"), self._specs(signature)
        feed = {
            name: tf.constant(value, specs[name].dtype) if not tf.is_tensor(value) else value
            for name, value in inputs.items()
            if name in specs
        }
        return dict(self.model.signatures[signature](**feed))

    def encode(self, inputs: Batch) -> dict[str, Any]:
        """Call `encode`."""
        return self._call("encode", inputs)

    def step(
        self, tokens: Array, position: int, fixed: Mapping[str, Any], own: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Call `step`."""
        result = self._call(
            "step", {"decoder_input_ids": tokens, "position": position, **fixed, **own}
        )
        logits: Array = result.pop("logits").numpy()
        return logits, {name.removeprefix("next_"): value for name, value in result.items()}

    def cache_shapes(self, rows: int, length: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the decoder's own keys and values."""
        return {
            name: (rows, spec.shape[1], length, spec.shape[3])
            for name, spec in self._specs("step").items()
            if "_self_" in name
        }

    def own_search(self, inputs: Batch, program: str = OWN) -> Array | None:
        """Call `generate` or `generate_beam`."""
        if program not in self.model.signatures:
            return None
        sequences: Array = self._call(program, inputs)["sequences"].numpy()
        return sequences


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
        return InputSupport("the SavedModel", token_types=False, decoder_mask=False)

    def load(self, path: Path, precision: str, model_class: str) -> SavedModelSession:
        """Load a SavedModel; what it computes in was fixed when it was made."""
        tf = import_module("tensorflow")
        tf.config.experimental.enable_tensor_float_32_execution(False)
        gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
        settings: dict[str, Json] = {
            "tf32": False,
            "onednn": False,
            "device": ", ".join(gpus) or "cpu",
        }
        session = SavedModelSession(tf.saved_model.load(str(path)), settings)
        session.generation = own_settings(path)
        session.try_limits(read_artefact(path))
        return session


RUNNER = SavedModel()
