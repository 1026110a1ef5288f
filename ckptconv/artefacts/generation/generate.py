"""`generate` as one program: `encode`, then a loop of `step`s, traced together. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export import Dim

from ckptconv.artefacts.generation.beams import run_beams
from ckptconv.artefacts.generation.loop import run_greedy
from ckptconv.artefacts.generation.processors import Controls, processors_of, repeated
from ckptconv.artefacts.generation.sampling import Sampling
from ckptconv.artefacts.generation.settings import Search
from ckptconv.artefacts.program import Control, Program, Traced, program

EXAMPLE_SIZES = {"max_length": 11, "num_beams": 4}
"""Of what is traced; no two lengths are equal, none is 0 or 1."""


def controls_of(search: Search) -> dict[str, Control]:
    """Return what a caller may set of a search, with the checkpoint's own values, in the order of the inputs."""
    controls = {
        "max_length": Control("size", search.max_length),
        "min_length": Control("integer", search.min_length),
        "repetition_penalty": Control("number", search.repetition_penalty),
    }
    if search.beams > 1:
        controls["num_beams"] = Control("size", search.beams)
        controls["length_penalty"] = Control("number", search.length_penalty)
    if search.samples:
        controls["temperature"] = Control("number", search.temperature)
        controls["top_k"] = Control("integer", search.top_k)
        controls["top_p"] = Control("number", search.top_p)
        controls["seed"] = Control("integer", 0)
    return controls


class Generate(torch.nn.Module):
    """inputs, controls -> sequences (batch, max_length), length (), and of beams sequences_scores (batch,)."""

    def __init__(self, traced: Traced, search: Search) -> None:
        """Join two programs by a search."""
        super().__init__()
        self.encode = _functional(traced.encode)
        self.step = _functional(traced.step)
        self.inputs, self.shapes, self.search = traced.encode.inputs, traced.shapes, search
        self.controls = tuple(controls_of(search))

    def forward(
        self, inputs: Sequence[torch.Tensor], controls: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """Answer a batch. Args: inputs: as of `encode`. controls: in the order of `controls_of`, sizes as tensors."""
        named = dict(zip(self.controls, controls, strict=True))
        _, *cross = self.encode(*inputs)
        places, beams = named["max_length"], named.get("num_beams")
        processors = processors_of(
            self.search,
            places.shape[0],
            Controls(named["min_length"], named["repetition_penalty"]),
            inputs[0] if self.inputs[0] == "input_ids" else None,
            beams,
        )
        if beams is not None:
            step = self._step([repeated(mask, beams) for mask in inputs[1:]])
            return run_beams(
                step,
                cross,
                self.shapes,
                self.search,
                processors,
                places,
                beams,
                named["length_penalty"],
            )
        sampling = (
            Sampling(*(named[name] for name in ("temperature", "top_k", "top_p", "seed")))
            if self.search.samples
            else None
        )
        return run_greedy(
            self._step(inputs[1:]), cross, self.shapes, self.search, processors, places, sampling
        )

    def _step(self, masks: Sequence[torch.Tensor]) -> Any:
        def step(
            token: Any, position: Any, own: Any, cross: Any
        ) -> tuple[torch.Tensor, list[torch.Tensor]]:
            logits, *rows = self.step(token, position, tuple(masks), tuple(own), tuple(cross))
            return logits, *rows

        return step


def _functional(part: Program) -> torch.nn.Module:
    """Return a program without operators that change their inputs, which a loop's body must not have."""
    return part.exported.run_decompositions({}).module(check_guards=False)


def trace_generate(traced: Traced, search: Search) -> Program:
    """Trace the whole of a search; batch, lengths, the longest answer and the number of beams stay free."""
    free = Dim.DYNAMIC
    inputs = tuple(traced.examples.values())
    controls = controls_of(search)
    values = tuple(_example(name, control) for name, control in controls.items())
    shapes = (
        tuple({0: free, 1: free} if tensor.ndim == 2 else {0: free} for tensor in inputs),
        tuple({0: free} if control.kind == "size" else None for control in controls.values()),
    )
    with torch.no_grad():
        exported = torch.export.export(
            Generate(traced, search), (inputs, values), dynamic_shapes=shapes, strict=False
        )
    outputs = ("sequences", "length", "sequences_scores")[: 3 if search.beams > 1 else 2]
    return program(exported, (*traced.encode.inputs, *controls), outputs, traced.model, controls)


def control_tensor(control: Control, value: int | float | None = None) -> torch.Tensor:
    """Return the tensor that the graph takes for a control's value, or for its default."""
    value = control.default if value is None else value
    if control.kind == "size":
        return torch.zeros(int(value))
    return torch.tensor(int(value)) if control.kind == "integer" else torch.tensor(float(value))


def _example(name: str, control: Control) -> torch.Tensor:
    return control_tensor(control, EXAMPLE_SIZES.get(name))
