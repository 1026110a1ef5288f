"""Programs that call programs: generation traced around `encode` and `step` without tracing these again.

The loop of a search is traced with an operator in the place of each call. A backend runs the program that the operator
names, so its graph exists once in an artefact, and a deep model takes no longer to trace than a shallow one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ckptconv.artefacts.generation.generate import trace_generate
from ckptconv.artefacts.generation.settings import Search
from ckptconv.artefacts.lowering.graph import GraphScope, Value, decompose
from ckptconv.artefacts.program import Program, Traced

LIBRARY = torch.library.Library("ckptconv", "DEF")
LIBRARY.define("call(str program, Tensor[] inputs) -> Tensor[]")
PROGRAMS: dict[str, torch.export.ExportedProgram] = {}
"""What can be called while a search is traced: `encode` and `step`."""


class _Sizes:
    """Computes the sizes of results in PyTorch's own symbols; the part of a backend that `GraphScope` asks for."""

    def size(self, value: Value, axis: int) -> Value:
        return value.shape[axis]

    def smallest(self, x: Value, y: Value) -> Value:
        return torch.sym_min(x, y)

    def largest(self, x: Value, y: Value) -> Value:
        return torch.sym_max(x, y)


def _results(program: str, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return results without data, in the shapes that tracing found."""
    nodes = list(PROGRAMS[program].graph.nodes)
    names = PROGRAMS[program].graph_signature.user_inputs
    scope = GraphScope(_Sizes())  # type: ignore[arg-type]
    metas = {node.name: node.meta["val"] for node in nodes if node.op == "placeholder"}
    for name, tensor in zip(names, inputs, strict=True):
        scope.bind(tensor, metas[name])
        for size, meta in zip(tensor.shape, metas[name].shape, strict=True):
            torch._check(size == scope.size(meta))  # the same batch in every input
    results = [node.meta["val"] for node in nodes[-1].args[0]]
    return [
        inputs[0].new_empty([scope.size(size) for size in meta.shape], dtype=meta.dtype)
        for meta in results
    ]


torch.library.register_fake("ckptconv::call", _results, lib=LIBRARY)


class Caller(torch.nn.Module):
    """Stands for a program in a trace; takes its arguments in any nesting."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *arguments: Any) -> list[torch.Tensor]:
        """Call the program."""
        flat = torch.utils._pytree.tree_leaves(arguments)
        results: list[torch.Tensor] = torch.ops.ckptconv.call(self.name, flat)
        return results


class Stub:
    """Has of an exported program what a search asks of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run_decompositions(self, rules: Any) -> Stub:
        """Return the same: what it stands for is decomposed elsewhere."""
        return self

    def module(self, check_guards: bool = False) -> Caller:
        """Return a module that calls the program."""
        return Caller(self.name)


def trace_search(traced: Traced, search: Search) -> Program:
    """Trace a search around a class, and reduce it to the core operators."""
    parts = {"encode": traced.encode, "step": traced.step}
    PROGRAMS.update({name: part.exported for name, part in parts.items()})
    stubs: dict[str, Any] = {
        name: replace(part, exported=Stub(name)) for name, part in parts.items()
    }
    try:
        program = trace_generate(replace(traced, **stubs), search)
        return replace(program, exported=decompose(program.exported))
    finally:
        PROGRAMS.clear()
