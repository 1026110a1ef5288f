"""Traced programs in TensorFlow: constants, loops and branches, and weights as variables that all programs share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import torch

from ckptconv.artefacts.lowering import graph, tf_ops
from ckptconv.artefacts.lowering.graph import Entry, Function, GraphScope, Value
from ckptconv.artefacts.program import Program


class TensorFlow:
    """The backend; see `graph.Backend`."""

    name = "TensorFlow"
    table: Mapping[str, Entry] = tf_ops.TABLE

    def constant(self, tensor: torch.Tensor) -> Value:
        """Return a constant of the graph."""
        return tf.constant(array_of(tensor))

    def size(self, value: Value, axis: int) -> Value:
        """Return the size of an axis."""
        return tf_ops.size(value, axis)

    def smallest(self, x: Value, y: Value) -> Value:
        """Return the smaller of two sizes."""
        return (
            min(x, y)
            if isinstance(x, int) and isinstance(y, int)
            else tf.minimum(_long(x), _long(y))
        )

    def largest(self, x: Value, y: Value) -> Value:
        """Return the larger of two sizes."""
        return (
            max(x, y)
            if isinstance(x, int) and isinstance(y, int)
            else tf.maximum(_long(x), _long(y))
        )

    def finish(self, value: Value, meta: torch.Tensor) -> Value:
        """Give a result its static shape; an entry that answers in another dtype is a fault of ours."""
        dtype = tf_ops.dtype_of(meta.dtype)
        assert value.dtype == dtype, f"{value.dtype} is not {dtype}"
        value = tf.ensure_shape(value, static_shape(meta)) if tf.executing_eagerly() else value
        if not tf.executing_eagerly():
            value.set_shape(static_shape(meta))
        return value

    def loop(
        self, condition: Entry, body: Entry, carried: Sequence[Value], metas: Sequence[Any]
    ) -> Sequence[Value]:
        """Repeat; a shape that PyTorch knows stays what it is."""
        first = [tf.convert_to_tensor(value) for value in carried]
        shapes = [
            static_shape(meta) if isinstance(meta, torch.Tensor) else tf.TensorShape([])
            for meta in metas
        ]
        return tuple(
            tf.while_loop(
                lambda *state: tf.reshape(_only(condition(*state)), []),
                lambda *state: list(body(*state)),
                first,
                shape_invariants=shapes,
            )
        )

    def branch(
        self, predicate: Value, true: Entry, false: Entry, operands: Sequence[Value]
    ) -> Sequence[Value]:
        """Run one of two graphs."""
        return tuple(
            tf.cond(predicate, lambda: list(true(*operands)), lambda: list(false(*operands)))
        )


BACKEND = TensorFlow()


def _long(value: Value) -> Any:
    return tf.cast(value, tf.int64)


def _only(result: Any) -> Any:
    return result[0] if isinstance(result, (tuple, list)) else result


def static_shape(meta: torch.Tensor) -> tf.TensorShape:
    """Return what is known of a shape while the graph is built."""
    return tf.TensorShape([size if isinstance(size, int) else None for size in meta.shape])


def array_of(tensor: torch.Tensor) -> Any:
    """Return a tensor's values as an array; bfloat16 as TensorFlow's."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(tf.bfloat16.as_numpy_dtype)
    return tensor.numpy()


class ProgramWeights:
    """The variables of an artefact: each distinct tensor once, whatever program uses it under whatever name."""

    def __init__(
        self, halves: Mapping[str, torch.dtype] | None = None, backend: TensorFlow = BACKEND
    ) -> None:
        """Take the names of tensors that are stored in half precision; so are their variables."""
        self.halves, self.backend = halves or {}, backend
        self.variables: dict[str, tf.Variable] = {}
        """By the name of the stored tensor; of a constant that a class computes, by where it came first."""
        self._constants: dict[bytes, Any] = {}

    def variable(self, tensor: torch.Tensor, name: str) -> Any:
        """Return the variable of a stored tensor, made if there is none yet: one each, equal values or not."""
        if name not in self.variables:
            array = array_of(tensor.to(self.halves.get(name, tensor.dtype)))
            self.variables[name] = tf.Variable(array, trainable=False, name=name.replace(".", "/"))
        return self.variables[name]

    def constant(self, tensor: torch.Tensor, name: str) -> Any:
        """Return what holds the values of a computed tensor, each once; a single number is part of the graph."""
        array = array_of(tensor)
        if array.size <= 1:
            return tf.constant(array)
        key = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).digest()
        if key not in self._constants:
            self._constants[key] = self.variable(tensor, name)
        return self._constants[key]

    def function(
        self, program: Program, programs: Mapping[str, Function] | None = None
    ) -> Function:
        """Return a decomposed program as a function of its inputs to its outputs, both flat.

        Args: programs: what it may call by name.
        """
        inputs = graph.inputs(program.exported)
        stored = [
            None
            if tensor is None
            else self.variable(tensor, program.weights[target])
            if target in program.weights
            else self.constant(tensor, f"constant.{target}")
            for target, tensor in inputs
        ]
        dtypes = [None if tensor is None else tf_ops.dtype_of(tensor.dtype) for _, tensor in inputs]

        def call(arguments: Sequence[Value]) -> list[Value]:
            rest = iter(arguments)
            values = [
                next(rest) if value is None else tf_ops.cast(tf.convert_to_tensor(value), dtype)
                for value, dtype in zip(stored, dtypes, strict=True)
            ]
            scope = GraphScope(self.backend, programs or {})
            return list(tf.nest.flatten(graph.run(program.exported.graph_module, values, scope)))

        return call
