"""What a traced program is: one graph, the names of its inputs and outputs, and whose its weights are.

Imports torch: used in the export's child process only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

STORED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


ControlKind: TypeAlias = Literal["size", "integer", "number"]


@dataclass(frozen=True, slots=True)
class Control:
    """What a caller may set of `generate`, and otherwise comes from the checkpoint's generation config."""

    kind: ControlKind
    """integer: int64 (). number: float32 (). size: the graph takes a float32 tensor of that many elements, whose
    values do not matter; a format makes it of the integer that a caller gives."""
    default: int | float


@dataclass(frozen=True, slots=True)
class Program:
    """One graph of ATen operators."""

    exported: ExportedProgram
    inputs: tuple[str, ...]
    """Names of what it is called with, in the order of the flattened arguments."""
    outputs: tuple[str, ...]
    weights: Mapping[str, str]
    """Target of a stored tensor in `exported` -> the parameter of the class that it is, as its state dict names it.

    A target that is not here is a constant that the class computes: a table of sines, a mask."""
    controls: Mapping[str, Control] = field(default_factory=dict)
    """Of `generate`: which of its inputs a caller may leave out, in the order of `inputs`."""

    def tensor(self, target: str) -> torch.Tensor:
        """Return a stored tensor by its target in the graph's signature."""
        state, constants = self.exported.state_dict, self.exported.constants
        return state[target] if target in state else constants[target]


def program(
    exported: ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    model: torch.nn.Module,
    controls: Mapping[str, Control] | None = None,
) -> Program:
    """Name a graph's inputs and outputs, and find the parameters of `model` among what it stores."""
    # Without examples PyTorch inserts no checks of them when it decomposes the graph; those fail on
    # inputs that a class does not use.
    exported.example_inputs = None
    weights = parameters_of(exported, model)
    return Program(exported, tuple(inputs), tuple(outputs), weights, controls or {})


def parameters_of(exported: ExportedProgram, model: torch.nn.Module) -> dict[str, str]:
    """Return target -> name in the model's state dict, for everything that is stored and is a parameter there.

    A traced module keeps the name of its parameter at the end of its target. The values are compared as well.
    """
    state = model.state_dict()
    weights: dict[str, str] = {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind not in STORED or spec.target is None:
            continue
        tensor = exported.state_dict.get(spec.target, exported.constants.get(spec.target))
        name = _name_in(spec.target, state)
        if name and isinstance(tensor, torch.Tensor) and _same(tensor, state[name]):
            weights[spec.target] = name
    return weights


def _name_in(target: str, state: Mapping[str, torch.Tensor]) -> str:
    """Return the longest end of a target that is a name of the state dict; empty where there is none."""
    parts = target.split(".")
    return next(
        (name for start in range(len(parts)) if (name := ".".join(parts[start:])) in state), ""
    )


def _same(tensor: torch.Tensor, parameter: torch.Tensor) -> bool:
    return bool(
        tensor.data_ptr() == parameter.data_ptr() or torch.equal(tensor.detach(), parameter)
    )


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Beyond which length the class itself fails; None where none is too long."""

    encoder: int | None
    """Tokens of an input."""
    decoder: int | None
    """Tokens of an answer, the start token included."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A class as programs; every format lowers these."""

    model: Any
    """The PyTorch class that was traced, with its weights."""
    encode: Program
    """inputs -> last_hidden_state, layer_N_cross_key, layer_N_cross_value, ..."""
    step: Program
    """decoder_input_ids (batch, 1), position (), attention_mask, layer_N_self_key, ..., layer_N_cross_key, ... ->
    logits (batch, vocabulary), next_layer_N_self_key, ..."""
    shapes: tuple[tuple[int, int], ...]
    """(heads, width) of each of the decoder's own keys and values."""
    examples: Mapping[str, torch.Tensor]
    """The inputs of `encode` that it was traced with."""
    position: str
    """What the class takes as a position: `tensor`, or `integer`, which leaves `aten.item` in the graph of a step."""
    limits: LengthLimits


def cache_names(kind: str, layers: int, prefix: str = "") -> tuple[str, ...]:
    """Return the names of keys and values of every layer; `kind` is `self` or `cross`."""
    return tuple(
        f"{prefix}layer_{layer}_{kind}_{what}"
        for layer in range(layers)
        for what in ("key", "value")
    )
