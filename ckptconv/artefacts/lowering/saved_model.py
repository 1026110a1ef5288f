"""A TensorFlow SavedModel of traced programs: signatures with names, weights once, the same bytes each time.

Imports torch and TensorFlow: used in the export's child process only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf
import torch
from tensorflow.core.protobuf import saved_model_pb2

from ckptconv.artefacts.lowering import graph, tf_ops
from ckptconv.artefacts.lowering.graph import Function
from ckptconv.artefacts.lowering.prepare import metas
from ckptconv.artefacts.lowering.tf import BACKEND, ProgramWeights, static_shape
from ckptconv.artefacts.program import Program

Tensors: TypeAlias = Mapping[str, Any]
CONTROL_DTYPES = {"size": tf.int64, "integer": tf.int64, "number": tf.float32}


class SavedModule(tf.Module):
    """What is saved: variables under the checkpoint's names, and a function a signature."""

    def __init__(self, weights: ProgramWeights) -> None:
        super().__init__(name="ckptconv")
        self.weights = dict(weights.variables)


def write(
    folder: Path,
    programs: Mapping[str, Program],
    limits: Mapping[str, int],
    halves: Mapping[str, torch.dtype],
    unused: Callable[[Collection[str]], Iterable[tuple[str, torch.Tensor]]],
) -> tuple[str, ...]:
    """Write a SavedModel, in whose checkpoint a variable is `weights/NAME/.ATTRIBUTES/VARIABLE_VALUE`.

    Args: programs: `encode`, `step`, and searches that call them (`generate`, `generate_beam`), decomposed. limits:
    `encoder` and `decoder`, tokens that positions are there for, where there is a limit. halves: names of tensors that
    are stored in half precision. unused: given the names of variables, the stored tensors that are not among them;
    they are saved as well, so that nothing of the checkpoint is lost.
    Returns: names of the variables that some program uses, which are those of the tensors that they hold.
    Raises: SourceError: an operator has no entry; nothing was written.
    """
    graph.require({name: program.exported for name, program in programs.items()}, BACKEND)
    weights = ProgramWeights(halves)
    called = {name: _function(weights, name, programs[name], {}) for name in ("encode", "step")}
    searches = {
        name: _function(weights, name, program, called)
        for name, program in programs.items()
        if name not in called
    }
    signatures = {
        "encode": _encode(programs["encode"], called["encode"], limits),
        "step": _step(programs["step"], called["step"]),
    }
    for name, function in searches.items():
        signatures[name] = _search(programs[name], function, limits, with_controls=False)
        signatures[f"{name}_with_settings"] = _search(
            programs[name], function, limits, with_controls=True
        )
    signatures["serving_default"] = signatures.get("generate", signatures["encode"])
    used = tuple(weights.variables)
    for name, tensor in unused(used):
        weights.variable(tensor, name)
    artefact = SavedModule(weights)
    artefact.signature_functions = list(signatures.values())
    tf.saved_model.save(artefact, str(folder), signatures=signatures)
    _settle(folder)
    return used


def _settle(folder: Path) -> None:
    """Make the bytes those of the content alone: maps in order, no random identifier, no shape that can be inferred."""
    (folder / "fingerprint.pb").unlink(missing_ok=True)  # holds a random number; loaders do without
    with suppress(OSError):
        (folder / "assets").rmdir()  # there are none
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph_definition in (meta_graph.graph_def for meta_graph in model.meta_graphs):
        functions = graph_definition.library.function
        for node in (
            *graph_definition.node,
            *(node for body in functions for node in body.node_def),
        ):
            node.attr.pop("_output_shapes", None)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _specs(program: Program) -> dict[str, Any]:
    """Return what a program takes, by name; a control as a caller gives it."""
    specs = {}
    for name, meta in zip(program.inputs, metas(program), strict=True):
        shape, dtype = static_shape(meta), tf_ops.dtype_of(meta.dtype)
        if name in program.controls:
            shape, dtype = tf.TensorShape([]), CONTROL_DTYPES[program.controls[name].kind]
        specs[name] = tf.TensorSpec(shape, dtype, name=name)
    return specs


def _function(
    weights: ProgramWeights, name: str, program: Program, called: Mapping[str, Function]
) -> Function:
    """Return a program as a function of the graph, which signatures and other programs call."""
    inner = weights.function(program, called)

    def call(*arguments: Any) -> list[Any]:
        return list(inner(arguments))

    call.__name__ = f"{name}_program"
    specs = [
        tf.TensorSpec(static_shape(meta), tf_ops.dtype_of(meta.dtype)) for meta in metas(program)
    ]
    concrete = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    return lambda arguments: tf.nest.flatten(concrete(*arguments))


def _signature(name: str, specs: Mapping[str, Any], answer: Callable[[Tensors], Tensors]) -> Any:
    def signature(**tensors: Any) -> Tensors:
        return answer(tensors)

    signature.__name__ = name
    return tf.function(signature, autograph=False).get_concrete_function(**specs)


def _named(program: Program, results: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(program.outputs, results, strict=True))


def _encode(program: Program, function: Function, limits: Mapping[str, int]) -> Any:
    def answer(tensors: Tensors) -> Tensors:
        with tf.control_dependencies(_length_checks(tensors, limits)):
            feed = {name: tf.identity(tensors[name]) for name in program.inputs}
        return _named(program, function([feed[name] for name in program.inputs]))

    return _signature("encode", _specs(program), answer)


def _step(program: Program, function: Function) -> Any:
    def answer(tensors: Tensors) -> Tensors:
        rows = tf.shape(
            next(value for name, value in tensors.items() if "_self_" in name), tf.int64
        )[2]
        message = "position: no row of the caches is left for it"
        with tf.control_dependencies(
            [tf.debugging.assert_less(tensors["position"], rows, message)]
        ):
            tensors = {**tensors, "position": tf.identity(tensors["position"])}
        return _named(program, function([tensors[name] for name in program.inputs]))

    return _signature("step", _specs(program), answer)


def _length_checks(tensors: Tensors, limits: Mapping[str, int]) -> list[Any]:
    if "encoder" not in limits or "input_ids" not in tensors:
        return []
    limit = limits["encoder"]
    message = f"input_ids: the encoder has positions for {limit} tokens"
    return [tf.debugging.assert_less_equal(tf.shape(tensors["input_ids"])[1], limit, message)]


def _search(
    program: Program, function: Function, limits: Mapping[str, int], *, with_controls: bool
) -> Any:
    def answer(tensors: Tensors) -> Tensors:
        values = {
            name: tensors.get(name, tf.constant(control.default, CONTROL_DTYPES[control.kind]))
            for name, control in program.controls.items()
        }
        with tf.control_dependencies(
            [*_length_checks(tensors, limits), *_control_checks(values, limits)]
        ):
            feed = {name: tf.identity(value) for name, value in {**tensors, **values}.items()}
        for name, control in program.controls.items():
            if control.kind == "size":
                feed[name] = tf.zeros(tf.reshape(feed[name], [1]))
        results = _named(program, function([feed[name] for name in program.inputs]))
        length = results.pop("length")
        return {**results, "sequences": results["sequences"][:, :length]}

    specs = {
        name: spec
        for name, spec in _specs(program).items()
        if with_controls or name not in program.controls
    }
    return _signature("generate", specs, answer)


def _control_checks(values: Tensors, limits: Mapping[str, int]) -> list[Any]:
    """Refuse what the search cannot do; constants are checked while the graph is built."""
    checks = []
    if "decoder" in limits:
        most = limits["decoder"] + 1  # the last token is not fed
        message = f"max_length: the decoder's positions are enough for {most} tokens"
        limit = tf.constant(most, tf.int64)
        checks.append(tf.debugging.assert_less_equal(values["max_length"], limit, message))
    if "num_beams" in values:
        message = "num_beams: a beam search has at least 2 beams"
        checks.append(
            tf.debugging.assert_greater_equal(
                values["num_beams"], tf.constant(2, tf.int64), message
            )
        )
    return [check for check in checks if check is not None]
