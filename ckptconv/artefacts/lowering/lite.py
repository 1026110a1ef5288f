"""A LiteRT file of `encode` and `step` with static shapes: our TensorFlow graphs, by TensorFlow's own converter.

Imports torch and TensorFlow: used in the export's child process only.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from ckptconv.artefacts.lowering import graph, tf_ops
from ckptconv.artefacts.lowering.graph import Call, Entry
from ckptconv.artefacts.lowering.prepare import HALVES, metas
from ckptconv.artefacts.lowering.saved_model import SavedModule
from ckptconv.artefacts.lowering.tf import BACKEND, ProgramWeights, TensorFlow
from ckptconv.artefacts.program import Program
from ckptconv.base.memory import give_back
from ckptconv.stores.parsers.tflite_buffers import constant_buffers, in_order

SIGNATURES = ("encode", "step")
AFFINE = ("aten.native_layer_norm.default", "aten.mul.Tensor", "aten.add.Tensor")
"""Operators that scale or shift each place of a row by numbers of its own."""
STEPS = 16
"""Over which the loss of integers is measured."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is fixed in the file."""

    batch: int
    length: int
    """Of the inputs."""
    max_length: int
    """Of the answers, which is the rows of the decoder's caches."""


def _of_full_rank(entry: Entry) -> Entry:
    """Return an entry that takes a row of numbers with as many axes as its result has."""

    def widened(value: Any, axes: int) -> Any:
        is_row = tf.is_tensor(value) and len(value.shape) == 1 < axes
        return tf.reshape(value, [1] * (axes - 1) + [-1]) if is_row else value

    def answer(call: Call, *arguments: Any, **options: Any) -> Any:
        axes = len(call.meta.shape)
        return entry(call, *(widened(argument, axes) for argument in arguments), **options)

    return answer


class Lite(TensorFlow):
    """The backend of files whose weights are the checkpoint's.

    TensorFlow's converter multiplies a scale that lies before a matrix product into the matrix, and adds a shift to its
    bias, where these have one axis. The layer's weights are then none of the checkpoint's, and a matrix that a lookup
    uses too is in the file twice.
    """

    table: Mapping[str, Entry] = {
        name: _of_full_rank(entry) if name in AFFINE else entry
        for name, entry in BACKEND.table.items()
    }


LITE = Lite()


def save(programs: Mapping[str, Program], sizes: Sizes, folder: str) -> dict[str, Any]:
    """Write a SavedModel with the signatures `encode` and `step`; return what the record says of each.

    Args: programs: both, decomposed.
    Raises: SourceError: an operator has no entry.
    """
    graph.require({name: program.exported for name, program in programs.items()}, LITE)
    weights = ProgramWeights(backend=LITE)
    encode = _concrete(weights, programs["encode"], _encode_specs(programs["encode"], sizes))
    shapes = {name: tensor.shape for name, tensor in encode.structured_outputs.items()}
    step = _concrete(weights, programs["step"], _step_specs(programs["step"], sizes, shapes))
    functions = {"encode": encode, "step": step}
    tf.saved_model.save(SavedModule(weights), folder, signatures=functions)
    return {name: _signature(programs[name], function) for name, function in functions.items()}


def converted(folder: str, *, quantize: bool) -> bytes:
    """Return a LiteRT file of a SavedModel. Args: quantize: weights as 8-bit integers with a scale a row."""
    gc.collect()  # TensorFlow's functions lie in cycles
    give_back()  # the converter takes three times the weights
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[*SIGNATURES])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # Constants behind the FlatBuffer: those in it are copied by passes in Python, 5 GB of a bert-base pair.
    converter._experimental_use_buffer_offset = True
    converter._trackable_obj = None  # the weights once more, as variables; the file is read again
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    gc.collect()
    give_back()
    return in_order(converter.convert())


def _signature(program: Program, function: Any) -> dict[str, Any]:
    """Return inputs and outputs as the record has them."""
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    return {
        "inputs": [_described(name, inputs[name]) for name in program.inputs],
        "outputs": [_described(name, outputs[name]) for name in program.outputs],
    }


def _described(name: str, tensor: Any) -> dict[str, Any]:
    return {"name": name, "dtype": tensor.dtype.name, "shape": [int(size) for size in tensor.shape]}


def places(content: bytes, tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, Any]:
    """Return name -> dtype, shape, offset and orientation of each tensor whose very values are a constant of a file.

    Those that the converter folds, cuts or packs are not there. Args: tensors: name and values, as stored; those of
    half precision are looked for as float32.
    """
    constants: dict[bytes, int] = {}
    for extent in constant_buffers(content):
        raw = memoryview(content)[extent.offset : extent.offset + extent.nbytes]
        constants.setdefault(sha256(raw).digest(), extent.offset)
    stored: dict[str, Any] = {}
    for name, tensor in tensors:
        array = (tensor.float() if tensor.dtype in HALVES.values() else tensor).numpy()
        for transposed in (False, True)[: array.ndim or 1]:
            values = np.ascontiguousarray(array.T if transposed else array)
            offset = constants.get(sha256(values.tobytes()).digest())
            if offset is not None and (not transposed or array.ndim == 2):
                stored[name] = {
                    "dtype": str(array.dtype),
                    "shape": list(array.shape),
                    "offset": offset,
                    "transposed": transposed,
                }
                break
    return stored


def measured_loss(
    exact: bytes, rounded: bytes, signatures: Mapping[str, Any], sizes: Sizes, words: int
) -> dict[str, float]:
    """Return how far the logits of a file of integers are from those of the exact one, over random inputs.

    Args: signatures: as the record has them. words: tokens that the encoder knows.
    Returns: `relative_error`, root mean square of the differences over that of the logits; `same_best_token`, the
    share of steps whose best token stays.
    """
    runners = [_Runner(content) for content in (exact, rounded)]
    generator = np.random.default_rng(0)
    batch = {
        value["name"]: _random(generator, value, words) for value in signatures["encode"]["inputs"]
    }
    (logits,) = (out for out in signatures["step"]["outputs"] if out["name"] == "logits")
    steps = (min(STEPS, max(1, sizes.max_length - 1)), sizes.batch, 1)
    tokens = generator.integers(0, logits["shape"][-1], steps)
    first, second = (runner.logits(batch, tokens) for runner in runners)
    scale = float(np.sqrt(np.mean(np.square(first))))
    error = float(np.sqrt(np.mean(np.square(first - second))))
    same = float(np.mean(first.argmax(-1) == second.argmax(-1)))
    return {"relative_error": error / scale, "same_best_token": same}


def _random(generator: np.random.Generator, value: Mapping[str, Any], words: int) -> Any:
    if value["name"] == "attention_mask":
        return np.ones(value["shape"], np.int64)
    if value["dtype"] == "int64":
        return generator.integers(0, words, value["shape"])
    return generator.standard_normal(value["shape"]).astype(np.float32)


class _Runner:
    """Runs the two signatures of a file."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=content, num_threads=1)
        self.encode = self.interpreter.get_signature_runner("encode")
        self.step = self.interpreter.get_signature_runner("step")

    def logits(self, inputs: Mapping[str, Any], tokens: Any) -> Any:
        """Return logits (steps, rows, vocabulary) of given tokens (steps, rows, 1)."""
        takes = self.step.get_input_details()
        fixed = {
            name: value
            for name, value in {**inputs, **self.encode(**inputs)}.items()
            if name in takes
        }
        own = {
            name: np.zeros(detail["shape"], np.float32)
            for name, detail in takes.items()
            if "_self_" in name
        }
        results = []
        for position, row in enumerate(tokens):
            answer = self.step(decoder_input_ids=row, position=np.array(position), **fixed, **own)
            results.append(answer.pop("logits"))
            own = {name.removeprefix("next_"): value for name, value in answer.items()}
        return np.stack(results)


def _concrete(weights: ProgramWeights, program: Program, specs: Mapping[str, Any]) -> Any:
    function = weights.function(program)

    def call(**tensors: Any) -> dict[str, Any]:
        results = function([tensors[name] for name in program.inputs])
        return dict(zip(program.outputs, results, strict=True))

    return tf.function(call, autograph=False).get_concrete_function(**specs)


def _encode_specs(program: Program, sizes: Sizes) -> dict[str, Any]:
    specs = {}
    for name, meta in zip(program.inputs, metas(program), strict=True):
        fixed = (sizes.batch, sizes.length)
        shape = [
            size if isinstance(size, int) else fixed[axis] for axis, size in enumerate(meta.shape)
        ]
        specs[name] = tf.TensorSpec(shape, tf_ops.dtype_of(meta.dtype), name=name)
    return specs


def _step_specs(program: Program, sizes: Sizes, encoded: Mapping[str, Any]) -> dict[str, Any]:
    specs = {}
    for name, meta in zip(program.inputs, metas(program), strict=True):
        fixed = (sizes.batch, sizes.length, sizes.max_length, None)
        shape = [
            size if isinstance(size, int) else fixed[axis] for axis, size in enumerate(meta.shape)
        ]
        specs[name] = tf.TensorSpec(
            encoded.get(name, shape), tf_ops.dtype_of(meta.dtype), name=name
        )
    return specs
