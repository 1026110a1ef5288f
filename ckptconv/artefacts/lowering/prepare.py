"""What the formats of `lowering` write: `encode`, `step` and the searches, of core operators, under stored names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from ckptconv.artefacts.generation.settings import Search
from ckptconv.artefacts.lowering import graph
from ckptconv.artefacts.lowering.calls import trace_search
from ckptconv.artefacts.program import Program, Traced
from ckptconv.artefacts.stored import WEIGHTS, StoredTensor, stored_tensors
from ckptconv.stores.artefact import BEAMS

if TYPE_CHECKING:
    from ckptconv.artefacts.formats import Work

HALVES = {"F16": torch.float16, "BF16": torch.bfloat16}


def core_programs(traced: Traced, names: Mapping[str, str]) -> dict[str, Program]:
    """Return `encode` and `step` of core operators. Args: names: see `stored_names`."""
    parts = {"encode": traced.encode, "step": traced.step}
    return {
        name: replace(
            part,
            exported=graph.decompose(part.exported),
            weights={
                target: names[weight] for target, weight in part.weights.items() if weight in names
            },
        )
        for name, part in parts.items()
    }


def searches(traced: Traced, search: Search | None, *, beams: bool) -> dict[str, Program]:
    """Return `generate` as the checkpoint searches, and with `beams` also `generate_beam`; none without a search."""
    if search is None:
        return {}
    programs = {"generate": trace_search(traced, search)}
    if beams and search.ends:
        wide = replace(
            search,
            beams=max(search.beams, BEAMS) if search.beams == 1 else search.beams,
            samples=False,
        )
        programs["generate_beam"] = (
            programs["generate"] if wide == search else trace_search(traced, wide)
        )
    return programs


def release_weights(traced: Traced, programs: Mapping[str, Program]) -> None:
    """Give back the memory of a class that was lowered; its programs cannot run any more."""
    parts = (traced.encode, traced.step, *programs.values())
    tensors = [tensor for part in parts for tensor in part.exported.state_dict.values()]
    for tensor in (*tensors, *traced.model.parameters(), *traced.model.buffers()):
        tensor.data = torch.empty(0)


def stored_names(model: Any, stored: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Return name in the class's state dict -> name of the stored tensor, which is another one where they are tied."""
    state = model.state_dict()
    by_storage = {state[name].data_ptr(): name for name in stored if name in state}
    return {
        name: by_storage[tensor.data_ptr()]
        for name, tensor in state.items()
        if tensor.data_ptr() in by_storage
    }


def stored(work: Work) -> dict[str, StoredTensor]:
    """Return what the stage's `model.safetensors` holds."""
    return stored_tensors(work.folder / WEIGHTS)


def stored_apart(work: Work, names: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Return name and values of each stored tensor that is not among `names`."""
    with safe_open(work.folder / WEIGHTS, "pt") as file:
        for name in sorted(set(file.keys()) - set(names)):
            yield name, file.get_tensor(name)


def half_dtypes(tensors: Mapping[str, StoredTensor]) -> dict[str, torch.dtype]:
    """Return which tensors are stored in half precision; the class computes in float32."""
    return {
        name: HALVES[tensor.dtype] for name, tensor in tensors.items() if tensor.dtype in HALVES
    }


def limits(traced: Traced) -> dict[str, int]:
    """Return how many tokens inputs and answers may have, where there is a limit."""
    sides = {"encoder": traced.limits.encoder, "decoder": traced.limits.decoder}
    return {side: limit for side, limit in sides.items() if limit is not None}


def metas(program: Program) -> list[torch.Tensor]:
    """Return PyTorch's view of a program's inputs, in order: tensors without data."""
    nodes = {
        node.name: node.meta["val"]
        for node in program.exported.graph.nodes
        if node.op == "placeholder"
    }
    return [nodes[name] for name in program.exported.graph_signature.user_inputs]


def results(program: Program) -> list[torch.Tensor]:
    """Return PyTorch's view of a program's outputs, in order."""
    output = next(node for node in reversed(program.exported.graph.nodes) if node.op == "output")
    nodes = torch.utils._pytree.tree_leaves(
        output.args[0], is_leaf=lambda node: isinstance(node, torch.fx.Node)
    )
    count = len(program.outputs)
    return [node.meta["val"] for node in nodes[-count:]]


AXES = {
    "attention_mask": ("batch", "length"),
    "input_ids": ("batch", "length"),
    "input_values": ("batch", "length"),
    "self": ("batch", "", "rows"),
    "cross": ("batch", "", "encoder_length"),
    "last_hidden_state": ("batch", "encoder_length"),
    "sequences": ("batch", "answer"),
}
"""Names of free axes, by what a value's name is or says; every other first axis is the batch."""


def described(name: str, meta: torch.Tensor) -> dict[str, Any]:
    """Return name, dtype and shape of a value as the record has it; a free axis has a name."""
    kind = next((part for part in ("self", "cross") if f"_{part}_" in name), name)
    axes = AXES.get(kind, ("batch",))
    shape = [
        size if isinstance(size, int) else (axes[axis] if axis < len(axes) else f"axis_{axis}")
        for axis, size in enumerate(meta.shape)
    ]
    return {"name": name, "dtype": str(meta.dtype).removeprefix("torch."), "shape": shape}


def signature(program: Program, *, controls: bool) -> dict[str, Any]:
    """Return the inputs and outputs of a program as the record has them; `controls`: those of a search too."""
    inputs = [
        described(name, meta)
        for name, meta in zip(program.inputs, metas(program), strict=True)
        if name not in program.controls
    ]
    if controls:
        inputs += [
            {"name": name, "dtype": "float32" if control.kind == "number" else "int64", "shape": []}
            for name, control in program.controls.items()
        ]
    outputs = [
        described(name, meta)
        for name, meta in zip(program.outputs, results(program), strict=True)
        if name != "length"
    ]
    return {"inputs": inputs, "outputs": outputs}


def encoder_pad(model: Any) -> int:
    """Return the token that fills the inputs; families that count positions by it need the right one."""
    config = getattr(model.config, "encoder", None) or model.config
    pad = getattr(config, "pad_token_id", None)
    return pad if isinstance(pad, int) else 0
