"""A LiteRT artefact that `export` wrote: ai-edge-litert and numpy alone, through the driver that lies beside it.

The driver that runs is ckptconv's own copy: no code of an artefact is ever executed. Shapes are fixed: rows are
answered some at a time, and short ones are filled up.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json, read_json
from ckptconv.run.runners import Array, Batch, InputSupport, Process, Runner
from ckptconv.run.runners._stepwise import OWN, StepwiseSession
from ckptconv.stores.artefact import RECORD, Artefact, read_artefact


class LiteRTSession(StepwiseSession):
    """A loaded artefact; its caches are lists, one entry for each group of rows."""

    def __init__(self, artefact: Artefact, model: Any, settings: Mapping[str, Json]) -> None:
        """Take the driver's `Model`."""
        super().__init__(artefact, settings)
        self.model = model
        details = model.encode.get_input_details()
        self.takes = tuple(name for name in artefact.inputs if name in details)

    def _groups(self, rows: int) -> list[slice]:
        return [slice(at, at + self.model.rows) for at in range(0, rows, self.model.rows)]

    def encode(self, inputs: Batch) -> dict[str, Any]:
        """Run `encode` group by group."""
        rows = len(inputs[self.takes[0]])
        padded = [
            self.model.padded({name: array[group] for name, array in inputs.items()})
            for group in self._groups(rows)
        ]
        states, self._fixed = [], []
        for part in padded:
            self._fixed.append(self.model.begin(part)[0])
            states.append(self.model.states)
        whole = np.concatenate(states)[:rows]
        main = inputs[self.takes[0]]
        return {"last_hidden_state": whole[:, : main.shape[1]] if main.ndim == 2 else whole}

    def step(
        self, tokens: Array, position: int, fixed: Mapping[str, Any], own: Mapping[str, Any]
    ) -> tuple[Array, dict[str, Any]]:
        """Run `step` group by group."""
        logits, caches = [], []
        for number, group in enumerate(self._groups(len(tokens))):
            rows = np.pad(
                tokens[group], ((0, self.model.rows - len(tokens[group])), (0, 0)), mode="edge"
            )
            cache = {name: value[number] for name, value in own.items()}
            scores, cache = self.model.advance(rows, position, self._fixed[number], cache)
            logits.append(scores)
            caches.append(cache)
        joined = {name: np.stack([cache[name] for cache in caches]) for name in own}
        return np.concatenate(logits)[: len(tokens)], joined

    def cache_shapes(self, rows: int, length: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the decoder's own keys and values: (groups, rows of a group, ...)."""
        groups = len(self._groups(rows))
        return {
            name: (groups, *detail["shape"])
            for name, detail in self.model.step.get_input_details().items()
            if "_self_" in name
        }

    def own_search(self, inputs: Batch, program: str = OWN) -> Array | None:
        """Search as the driver does."""
        if not self.model.search or program != OWN:
            return None
        sequences: Array = self.model.generate(**inputs)
        return sequences


class LiteRT(Runner):
    """The interpreter of LiteRT."""

    name = "litert"
    process = Process(
        modules=("ai_edge_litert",),
        extra="litert",
        distributions=("ai-edge-litert",),
        fence=("ai-edge-litert",),
    )

    def support(self, path: Path | None) -> InputSupport:
        """Return what an artefact takes: fixed shapes; it makes token types and positions itself."""
        sizes: Any = read_json(path / RECORD)["sizes"] if path is not None else {}
        return InputSupport(
            "the LiteRT artefact",
            token_types=False,
            decoder_mask=False,
            encoder_places=sizes.get("length"),
            decoder_places=sizes.get("max_length"),
        )

    def load(self, path: Path, precision: str, model_class: str) -> LiteRTSession:
        """Load the file."""
        model = import_module("ckptconv.run.loaders.litert_driver").Model(path, threads=1)
        return LiteRTSession(read_artefact(path), model, {"threads": 1, "device": "cpu"})


RUNNER = LiteRT()
