"""Trace a class: `encode` and `step`, with free batch and lengths, or a refusal that says what stands in the way."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from ckptconv.artefacts.program import LengthLimits, Program, Traced, cache_names, program
from ckptconv.artefacts.tracing.cache import KeysValues, keys_values
from ckptconv.artefacts.tracing.examples import BATCH
from ckptconv.artefacts.tracing.limits import decoder_limit, encoder_limit
from ckptconv.artefacts.tracing.modules import (
    Encode,
    First,
    PositionKind,
    Signature,
    Step,
    signature,
)
from ckptconv.artefacts.tracing.patches import LowerableCalls, broadcast_masks, count_positions

ROWS = 9
"""Of the buffers that a step is traced with; unlike any size in `examples`, which would be taken for the same."""
KINDS: tuple[PositionKind, ...] = ("tensor", "integer")
"""In the order in which they are tried: a tensor leaves no read of a value in the graph, but some
classes take integers only."""
FREE = Dim.DYNAMIC
TOLERANCE = 1e-3
"""Of numbers that are the same but for rounding, relative and absolute."""


class TraceError(Exception):
    """A class cannot be traced; the message says why in one line."""


def trace(model: Any, start: int, examples: Mapping[str, torch.Tensor]) -> Traced:
    """Trace a class.

    Args: model: in evaluation mode, float32, with eager attention; its buffers of positions are replaced.
    start: the token that answers begin with. examples: input name -> a batch of `BATCH` rows; `attention_mask` is made.
    Raises: TraceError: what the class does depends on the values of its inputs, or it does not answer token by token
    what it answers at once.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    sign = signature(model, start, examples)
    inputs = tuple(examples[name] for name in sign.inputs)
    with torch.no_grad():
        first = _first(Encode(model, sign), inputs)
        _require_causal(Encode(model, sign), inputs, first)
        limits = LengthLimits(encoder_limit(model, sign), decoder_limit(model, sign, first))
    count_positions(model)
    with torch.no_grad(), broadcast_masks(), LowerableCalls():
        encode = _encode(model, sign, inputs)
        step, kind = _step(model, sign, inputs[1:], first)
    own = keys_values(first.cache.self_attention_cache)
    return Traced(
        model=model,
        encode=encode,
        step=step,
        shapes=tuple((tensor.shape[1], tensor.shape[3]) for tensor in own),
        examples=dict(zip(sign.inputs, inputs, strict=True)),
        position=kind,
        limits=limits,
    )


def _first(encode: Encode, inputs: KeysValues) -> First:
    """Run a class once with our cache. Raises TraceError: it wants another one, or none."""
    try:
        return encode.first(*inputs)
    except Exception as error:
        raise TraceError(_first_line(error)) from error


def _require_causal(encode: Encode, inputs: KeysValues, first: First) -> None:
    """Refuse a class whose answer to a token depends on what follows it, as ProphetNet's does in transformers 4.57.6.

    Its `generate` then answers otherwise than a pass over an answer, and nothing can be held to both.
    """
    followed = encode.followed(*inputs)
    if not torch.allclose(followed, first.logits, rtol=TOLERANCE, atol=TOLERANCE):
        error, largest = ((followed - first.logits).abs().max(), first.logits.abs().max())
        raise TraceError(
            "PyTorch's class answers a token otherwise when another follows it (logits differ by"
            f" {error:.2g}, the largest is {largest:.2g}), so its `generate` and a pass over the answer disagree"
        )


def _encode(model: Any, sign: Signature, inputs: KeysValues) -> Program:
    lengths = {tensor.shape[1] for tensor in inputs[1:]}
    free = tuple(_free(tensor, lengths) for tensor in inputs)
    exported = _exported(Encode(model, sign), tuple(inputs), (free,))
    outputs = ("last_hidden_state", *cache_names("cross", sign.layers))
    return program(exported, sign.inputs, outputs, model)


def _free(tensor: torch.Tensor, lengths: Collection[int]) -> dict[int, Any]:
    """Return which axes of an input are free: the batch, and the length of tokens, samples and frames, not of pixels.

    Args: lengths: of the masks.
    """
    has_length = tensor.ndim == 2 or tensor.shape[1] in lengths
    return {0: FREE, 1: FREE} if has_length else {0: FREE}


def _step(
    model: Any, sign: Signature, masks: KeysValues, first: First
) -> tuple[Program, PositionKind]:
    """Trace a step, with the first kind of position that the class takes."""
    cross = keys_values(first.cache.cross_attention_cache)
    own = tuple(
        torch.zeros(BATCH, tensor.shape[1], ROWS, tensor.shape[3])
        for tensor in keys_values(first.cache.self_attention_cache)
    )
    token = torch.full((BATCH, 1), sign.start)
    inputs = (token, torch.tensor(2), tuple(masks), own, cross)
    rows = tuple({0: FREE, 2: FREE} for _ in own)
    free = ({0: FREE}, None, tuple({0: FREE, 1: FREE} for _ in masks), rows, rows)
    names = ("decoder_input_ids", "position", *sign.inputs[1:])
    names += (*cache_names("self", sign.layers), *cache_names("cross", sign.layers))
    outputs = ("logits", *cache_names("self", sign.layers, "next_"))
    reasons = []
    for kind in KINDS:
        module = Step(model, sign, first.states.shape[-1], kind)
        try:
            exported = _exported(module, inputs, free)
            _require_same(exported, module, _longer(inputs))
        except TraceError as error:
            reasons.append(str(error))
        else:
            return program(exported, names, outputs, model), kind
    raise TraceError(reasons[-1])


def _exported(module: torch.nn.Module, inputs: Any, free: Any) -> ExportedProgram:
    """Run PyTorch's export, whose errors are of many classes; ours has one line."""
    try:
        return torch.export.export(module, inputs, dynamic_shapes=free, strict=False)
    except Exception as error:
        raise TraceError(_cause(error, type(module).__name__.lower())) from error


def _cause(error: Exception, part: str) -> str:
    """Say in one line why PyTorch's export fails. Args: part: `encode` or `step`."""
    if type(error).__name__ == "GuardOnDataDependentSymNode":
        return (
            f"`{part}` goes one way or another by the values of a tensor{_place(error)},"
            " and a program that is traced has one way"
        )
    if "Constraints violated" in str(error):
        return f"`{part}` cannot be traced with inputs of any length, since what it does depends on the length"
    return f"`{part}`: {_first_line(error)}"


def _place(error: Exception) -> str:
    """Return the line of transformers at which PyTorch's export failed, in brackets; nothing where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [
        f" ({Path(frame.filename).name}, line {frame.lineno})"
        for frame in frames
        if "transformers" in Path(frame.filename).parts
    ]
    return places[-1] if places else ""


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _longer(inputs: Any) -> Any:
    """Return inputs of a step with one row and one place more of everything, at another position."""
    token, _, masks, own, cross = inputs
    masks = tuple(_grown(_grown(mask, 0), 1) for mask in masks)
    own, cross = (tuple(_grown(_grown(tensor, 0), 2) for tensor in side) for side in (own, cross))
    return _grown(token, 0), torch.tensor(ROWS - 1), masks, own, cross


def _grown(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return a tensor with its first slice once more at the end."""
    return torch.cat([tensor, tensor.narrow(axis, 0, 1)], axis)


def _require_same(exported: ExportedProgram, module: torch.nn.Module, inputs: Any) -> None:
    """Run a graph and the class at sizes that were not traced; some classes export what only runs as traced."""
    try:
        traced = exported.module(check_guards=False)(*inputs)
    except Exception as error:
        raise TraceError(_first_line(error)) from error
    for ours, theirs in zip(traced, module(*inputs), strict=True):
        if ours.shape != theirs.shape or not torch.allclose(
            ours, theirs, rtol=TOLERANCE, atol=TOLERANCE
        ):
            raise TraceError("the traced step does not answer as the class does at other lengths")
