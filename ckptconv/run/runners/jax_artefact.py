"""A JAX artefact that `export` wrote: jax, numpy and safetensors alone, through the loader that lies beside it.

The loader that runs is ckptconv's own copy: no code of an artefact is ever executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport, Process, Runner
from ckptconv.run.runners._stepwise import OWN, ProgramSession, artefact_support
from ckptconv.stores.artefact import BEAM_PROGRAM, read_artefact


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
        return artefact_support("the JAX artefact")

    def load(self, path: Path, precision: str, model_class: str) -> ProgramSession:
        """Load the programs and the weights; a search is compiled for the very shapes of its inputs."""
        jax = import_module("jax")
        model = import_module("ckptconv.run.loaders.jax_loader").Model(path)

        def run(program: str, feed: Batch) -> Mapping[str, Array]:
            searches = program in (OWN, BEAM_PROGRAM)
            answer: Mapping[str, Array] = (model.generate if searches else model.run)(
                program, **feed
            )
            return answer

        settings: dict[str, Json] = {"x64": False, "device": jax.default_backend()}
        return ProgramSession(read_artefact(path), run, settings)


RUNNER = JaxArtefact()
