"""A JAX artefact that `export` wrote: jax, numpy and safetensors alone, through the loader that lies beside it.

The loader that runs is ckptconv's own copy: no code of an artefact is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport, Process, Runner
from ckptconv.run.runners._stepwise import OWN, StepwiseSession, own_settings
from ckptconv.stores.artefact import read_artefact


class JaxSession(StepwiseSession):
    """A loaded artefact."""

    def __init__(self, model: Any, settings: Mapping[str, Json]) -> None:
        """Take the loader's `Model`."""
        self.model, self.settings = model, settings
        self.takes = tuple(value["name"] for value in self._program("encode")["inputs"])

    def _program(self, name: str) -> Mapping[str, Any]:
        program: Mapping[str, Any] = self.model.record["programs"][name]
        return program

    def encode(self, inputs: Batch) -> dict[str, Array]:
        """Run `encode`."""
        result: dict[str, Array] = self.model.run("encode", **inputs)
        return result

    def step(
        self, tokens: Array, position: int, fixed: Mapping[str, Any], own: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Run `step`."""
        result = self.model.run("step", decoder_input_ids=tokens, position=position, **fixed, **own)
        logits: Array = result.pop("logits")
        return logits, {name.removeprefix("next_"): value for name, value in result.items()}

    def cache_shapes(self, rows: int, length: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the decoder's own keys and values."""
        return {
            value["name"]: (rows, value["shape"][1], length, value["shape"][3])
            for value in self._program("step")["inputs"]
            if "_self_" in value["name"]
        }

    def own_search(self, inputs: Batch, program: str = OWN) -> Array | None:
        """Run `generate` or `generate_beam`, with the very shapes of the inputs."""
        if program not in self.model.record["programs"]:
            return None
        sequences: Array = self.model.generate(program, **inputs)["sequences"]
        return np.asarray(sequences)


class JaxArtefact(Runner):
    """The programs of `jax.export`."""

    name = "jax_artefact"
    process = Process(
        modules=("jax", "flatbuffers", "safetensors"),
        extra="jax-export",
        distributions=("jax", "jaxlib", "safetensors"),
        environment={"NVIDIA_TF32_OVERRIDE": "0"},
        fence=("jax", "jaxlib", "flatbuffers", "safetensors"),
    )

    def support(self, path: Path | None) -> InputSupport:
        """Return what an artefact takes: it makes token types and positions itself."""
        return InputSupport("the JAX artefact", token_types=False, decoder_mask=False)

    def load(self, path: Path, precision: str, model_class: str) -> JaxSession:
        """Load the programs and the weights."""
        jax = import_module("jax")
        model = import_module("ckptconv.run.loaders.jax_loader").Model(path)
        session = JaxSession(model, {"x64": False, "device": jax.default_backend()})
        session.generation = own_settings(path)
        session.try_limits(read_artefact(path))
        return session


RUNNER = JaxArtefact()
