"""Traced programs as `jax.export` artefacts: symbolic batch and length, for CPU, CUDA and TPU, weights as arguments.

Inside, every dtype is PyTorch's. At the border integers have 32 bits, JAX's default, so that a caller needs no 64-bit
mode; the loader takes and answers int64. Imports torch and JAX: used in the export's child process only.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import torch
from jax import export
from safetensors.numpy import load_file, save_file

from ckptconv.artefacts.lowering import graph, jax_ops
from ckptconv.artefacts.lowering.graph import Function
from ckptconv.artefacts.lowering.jax import BACKEND, ProgramWeights
from ckptconv.artefacts.lowering.prepare import metas as metas_of
from ckptconv.artefacts.lowering.prepare import signature
from ckptconv.artefacts.program import Program
from ckptconv.artefacts.stored import CONSTANTS, WEIGHTS
from ckptconv.base.errors import SourceError

PLATFORMS = ("cpu", "cuda", "tpu")
NARROW = {"int64": "int32", "float64": "float32"}
"""Dtype inside -> dtype at the border."""
SIDES = {("input_ids", 1): "encoder", ("max_length", 0): "decoder"}
"""Input and axis -> whose limit it has."""
SETTINGS = ("max_length", "num_beams")
"""Sizes that a caller sets; each is 2 at least."""


def write(
    folder: Path,
    programs: Mapping[str, Program],
    limits: Mapping[str, int],
    stored: Collection[str],
) -> tuple[dict[str, Any], list[str]]:
    """Write a file a program, and the tensors that `model.safetensors` lacks.

    Args: programs: `encode`, `step`, and searches that call them, decomposed. limits: `encoder` and `decoder`, tokens
    that positions are there for, where there is a limit. stored: names of the tensors of `model.safetensors`.
    Returns: what the record says of each program, and the stored tensors that some program takes.
    Raises: SourceError: an operator has no entry; nothing was written.
    """
    graph.require({name: program.exported for name, program in programs.items()}, BACKEND)
    weights = ProgramWeights(stored)
    described: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    with jax.enable_x64(True), _without_paths(), _without_collection():
        parts = {name: weights.function(programs[name]) for name in ("encode", "step")}
        for name, program in programs.items():
            names, function = parts[name] if name in parts else _joined(weights, program, parts)
            exported = _exported(program, names, function, weights, limits)
            files[f"{name}.jax"] = bytes(exported.serialize())
            described[name] = _described(name, program, names)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    if weights.constants:
        save_file(dict(sorted(weights.constants.items())), folder / CONSTANTS)
    return described, sorted(name for name in weights.tensors if name in stored)


@contextmanager
def _without_paths() -> Iterator[None]:
    """Keep the paths of source files out of what is written: they differ from machine to machine."""
    name = "jax_traceback_in_locations_limit"
    usual = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, usual)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector out of a trace.

    JAX hands a loop every constant that is still referred to when its trace ends. Some are held by cycles alone: were
    they collected, or not yet, would be a matter of what else was allocated, and so would be the bytes of the program.
    """
    usual = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if usual:
            gc.enable()


def _joined(
    weights: ProgramWeights, program: Program, parts: Mapping[str, tuple[tuple[str, ...], Any]]
) -> tuple[tuple[str, ...], Any]:
    """Return a search as a function that hands the weights on to what it calls."""
    called: dict[str, Function] = {}
    own, function = weights.function(program, called)
    names = tuple(sorted({*own, *(name for part, _ in parts.values() for name in part)}))

    def call(tensors: Mapping[str, Any], arguments: Sequence[Any]) -> Sequence[Any]:
        called.update({name: _bound(part, tensors) for name, (_, part) in parts.items()})
        return function(tensors, arguments)

    return names, call


def _bound(part: Any, tensors: Mapping[str, Any]) -> Function:
    return lambda arguments: part(tensors, arguments)


def _exported(
    program: Program,
    names: Sequence[str],
    function: Any,
    weights: ProgramWeights,
    limits: Mapping[str, int],
) -> export.Exported:
    metas = metas_of(program)

    def call(tensors: Mapping[str, Any], *arguments: Any) -> dict[str, Any]:
        wide = [_wide(argument, meta) for argument, meta in zip(arguments, metas, strict=True)]
        results = zip(program.outputs, function(tensors, wide), strict=True)
        return {name: value.astype(narrow(str(value.dtype))) for name, value in results}

    call.__name__ = "program"
    tensors = {
        name: jax.ShapeDtypeStruct(weights.tensors[name].shape, weights.tensors[name].dtype)
        for name in names
    }
    sizes = _sizes(program, metas, limits)
    arguments = [_argument(meta, sizes) for meta in metas]
    try:
        return export.export(jax.jit(call), platforms=PLATFORMS)(tensors, *arguments)
    except jax.errors.InconclusiveDimensionOperation as error:
        line = str(error).strip().splitlines()[0]
        raise SourceError(
            f"JAX cannot tell for inputs of every length what the class computes: {line}\n"
            "Other formats can have it: --format onnx or savedmodel."
        ) from error


def narrow(dtype: str) -> str:
    """Return the dtype at the border."""
    return NARROW.get(dtype, dtype)


def _argument(meta: torch.Tensor, sizes: Mapping[Any, Any]) -> jax.ShapeDtypeStruct:
    shape = tuple(size if isinstance(size, int) else sizes[size.node.expr] for size in meta.shape)
    return jax.ShapeDtypeStruct(shape, narrow(str(jax_ops.dtype_of(meta.dtype))))


def _wide(argument: Any, meta: torch.Tensor) -> Any:
    return argument.astype(jax_ops.dtype_of(meta.dtype))


def _sizes(
    program: Program, metas: Sequence[torch.Tensor], limits: Mapping[str, int]
) -> dict[Any, Any]:
    """Return a symbolic dimension for each free size; lengths of inputs and of answers have their limits."""
    names: dict[Any, str] = {}
    constraints = []
    for name, meta in zip(program.inputs, metas, strict=True):
        for axis, size in enumerate(meta.shape):
            if isinstance(size, int) or size.node.expr in names:
                continue
            names[size.node.expr] = _dimension(name, axis, names)
            limit = limits.get(_side(name, axis))
            if name in SETTINGS:
                constraints.append(f"{names[size.node.expr]} >= 2")
            if limit is not None:  # the last token of an answer is not fed
                most = limit + 1 if name in SETTINGS else limit
                constraints.append(f"{names[size.node.expr]} <= {most}")
    dimensions = export.symbolic_shape(", ".join(names.values()), constraints=constraints)
    return dict(zip(names, dimensions, strict=True))


def _side(name: str, axis: int) -> str:
    """Return whose limit an axis of an input has; empty: none."""
    return "decoder" if "_self_" in name and axis == 2 else SIDES.get((name, axis), "")


def _dimension(name: str, axis: int, names: Mapping[Any, str]) -> str:
    """Return a name for a free size: batch, length, rows, or that of the setting."""
    usual = name if name in SETTINGS else ("batch", "length", "rows")[axis]
    return usual if usual not in names.values() else f"{usual}{len(names)}"


def _described(name: str, program: Program, names: Sequence[str]) -> dict[str, Any]:
    """Return what the record says of a program, which is what the loader goes by."""
    controls = program.controls.items()
    defaults = {control: value.default for control, value in controls}
    sizes = [control for control, value in controls if value.kind == "size"]
    ends = signature(program, controls=True)
    file = f"{name}.jax"
    return {"file": file, **ends, "defaults": defaults, "sizes": sizes, "weights": list(names)}


def write_orbax(folder: Path) -> None:
    """Write the weights once more, as Orbax lays them out: tensor name -> array."""
    from orbax.checkpoint import StandardCheckpointer

    tensors = load_file(folder / WEIGHTS)
    with StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / "orbax").absolute(), tensors)
