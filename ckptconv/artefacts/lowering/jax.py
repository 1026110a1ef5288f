"""Traced programs in JAX: constants, loops and branches; weights are arguments, each distinct tensor once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from ckptconv.artefacts.lowering import graph, jax_ops
from ckptconv.artefacts.lowering.graph import Entry, Function, GraphScope, Value
from ckptconv.artefacts.program import Program


class Jax:
    """The backend; see `graph.Backend`."""

    name = "JAX"
    table: Mapping[str, Entry] = jax_ops.TABLE

    def constant(self, tensor: torch.Tensor) -> Value:
        """Return a constant of the graph."""
        return jnp.asarray(array_of(tensor))

    def size(self, value: Value, axis: int) -> Value:
        """Return the size of an axis: an int or a symbolic dimension."""
        return value.shape[axis]

    def smallest(self, x: Value, y: Value) -> Value:
        """Return the smaller of two sizes."""
        return jax.core.min_dim(x, y)

    def largest(self, x: Value, y: Value) -> Value:
        """Return the larger of two sizes."""
        return jax.core.max_dim(x, y)

    def finish(self, value: Value, meta: torch.Tensor) -> Value:
        """Check a result; an entry that answers in another dtype is a fault of ours."""
        dtype = jax_ops.dtype_of(meta.dtype)
        assert value.dtype == dtype, f"{value.dtype} is not {dtype}"
        assert value.ndim == meta.ndim, f"{value.shape} is not {meta.shape}"
        return value

    def loop(
        self, condition: Entry, body: Entry, carried: Sequence[Value], metas: Sequence[Any]
    ) -> Sequence[Value]:
        """Repeat."""
        first = tuple(jnp.asarray(value) for value in carried)

        def repeated(state: tuple[Value, ...]) -> tuple[Value, ...]:
            results = [jnp.asarray(value) for value in body(*state)]
            return tuple(
                result.astype(value.dtype).reshape(value.shape)
                for result, value in zip(results, state, strict=True)
            )

        def goes_on(state: tuple[Value, ...]) -> Value:
            return _only(condition(*state)).reshape(())

        state: Sequence[Value] = lax.while_loop(goes_on, repeated, first)
        return state

    def branch(
        self, predicate: Value, true: Entry, false: Entry, operands: Sequence[Value]
    ) -> Sequence[Value]:
        """Run one of two graphs."""
        results: Sequence[Value] = lax.cond(
            predicate, lambda: tuple(true(*operands)), lambda: tuple(false(*operands))
        )
        return results


BACKEND = Jax()


def _only(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) else result


def array_of(tensor: torch.Tensor) -> Any:
    """Return a tensor's values as an array; bfloat16 as JAX's."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


class ProgramWeights:
    """The arguments of an artefact: each distinct tensor once, whatever program uses it under whatever name."""

    def __init__(self, stored: Collection[str]) -> None:
        """Take the names that the artefact's `model.safetensors` has."""
        self.stored = stored
        self.tensors: dict[str, np.ndarray[Any, Any]] = {}
        """Everything that a program takes, by name."""
        self._names: dict[bytes, str] = {}

    @property
    def constants(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return what `model.safetensors` has not: tables that the class computes."""
        return {name: array for name, array in self.tensors.items() if name not in self.stored}

    def add(self, tensor: torch.Tensor, name: str) -> str:
        """Return the name under which these values are stored."""
        array = array_of(tensor)
        digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
        if digest.digest() not in self._names or name in self.stored:
            name = name if name in self.stored else f"constant.{digest.hexdigest()[:16]}"
            self._names.setdefault(digest.digest(), name)
            self.tensors.setdefault(self._names[digest.digest()], array)
        return self._names[digest.digest()]

    def function(
        self, program: Program, programs: Mapping[str, Function] | None = None
    ) -> tuple[tuple[str, ...], Callable[..., Sequence[Value]]]:
        """Return which tensors a decomposed program takes, and a function of these, by name, and of its inputs.

        Args: programs: what it may call by name.
        """
        places = [
            self._place(target, tensor, program)
            for target, tensor in graph.inputs(program.exported)
        ]

        def call(weights: Mapping[str, Value], arguments: Sequence[Value]) -> Sequence[Value]:
            rest = iter(arguments)
            values = [
                next(rest)
                if place is None
                else weights[place]
                if isinstance(place, str)
                else jnp.asarray(place)
                for place in places
            ]
            scope = GraphScope(BACKEND, programs or {})
            return list(jax.tree.leaves(graph.run(program.exported.graph_module, values, scope)))

        return tuple(sorted({place for place in places if isinstance(place, str)})), call

    def _place(self, target: str, tensor: torch.Tensor | None, program: Program) -> Any:
        """Return a stored tensor's name, or the values that the graph holds itself; None for an input."""
        if tensor is None:
            return None
        if tensor.dtype in (torch.int64, torch.float64):  # no argument has 64 bits
            return array_of(tensor)
        return self.add(tensor, program.weights.get(target, target))
