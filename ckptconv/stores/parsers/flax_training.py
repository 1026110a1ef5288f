"""What training in Flax leaves in a msgpack file beside the parameters, and parameters once for each device.

Source: flax 0.12.8, training/train_state.py (`TrainState`) and jax_utils.py (`replicate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader
from ckptconv.stores.parsers.msgpack_tree import PackedArray, Tree
from ckptconv.stores.tensor import Extent, Stored

PARAMETERS = "params"
OPTIMIZER, TARGET, STATE = "optimizer", "target", "state"
"""How flax before 0.6 saved `flax.optim.Optimizer`: the parameters under `target`, its moments under `state`."""
TRAINING = (
    "step",
    "opt_state",
    "rng",
    "rngs",
    "key",
    "dropout_rng",
    "epoch",
    "loss_scale",
    "dynamic_scale",
    "batch_stats",
)
"""What a train state holds beside its parameters, none of it a parameter."""
SHOWN = 5
BLOCK_BYTES = 1 << 20
"""Compared at a time."""


def parameters(tree: Tree, path: Path) -> tuple[Tree, tuple[str, ...]]:
    """Return the parameters of a model: all that a file holds, or what a train state has under `params`.

    Returns: also what a user should know of it.
    Raises: SourceError: arrays that may be parameters as well lie beside them.
    """
    holder = _holder(tree)
    inner = tree.get(holder)
    if not isinstance(inner, dict):
        return tree, ()
    extra = [key for key in tree if key != holder]
    idle = (*TRAINING, STATE) if holder == TARGET else TRAINING
    uncertain = [key for key in extra if key not in idle and _holds_arrays(tree[key])]
    if uncertain:
        which = ", ".join(f"{key!a:.80}" for key in [holder, *uncertain][:SHOWN])
        raise SourceError(
            f"{path}: arrays lie under {which}: which of them are the model's is not certain.\n"
            "Save the parameters alone: model.save_pretrained(folder, params=state.params)"
        )
    left = ", ".join(f"{key!a:.80}" for key in extra[:SHOWN])
    more = f" and {len(extra) - SHOWN} more" if len(extra) > SHOWN else ""
    rest = f"; the rest is left: {left}{more}" if extra else ""
    notice = f"{path.name}: the weights are those under {holder!r}{rest}"
    nested, notices = parameters(inner, path)
    return nested, tuple(dict.fromkeys([notice, *notices]))


def _holder(tree: Tree) -> str:
    """Return the key under which a train state has its parameters; of a tree that is none, the usual one."""
    optimizer = tree.get(OPTIMIZER)
    if TARGET in tree and STATE in tree:
        return TARGET
    if isinstance(optimizer, dict) and TARGET in optimizer and PARAMETERS not in tree:
        return OPTIMIZER
    return PARAMETERS


def _holds_arrays(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_arrays, value.values()))
    return isinstance(value, PackedArray)


def first_replica(
    tensors: Mapping[str, Stored], file: FileReader
) -> tuple[dict[str, Stored], str] | None:
    """Return the parameters of the first device where a file holds them once for each; None where it does not.

    Every array then has a first axis of one length, even a bias, and along it the values repeat, which is read.
    """
    shapes = [stored.spec.shape for stored in tensors.values()]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(shapes) < 2 or len(counts) != 1 or min(map(len, shapes)) < 2 or min(counts) < 2:
        return None
    (count,) = counts
    if not all(len(stored.chunks) == 1 for stored in tensors.values()):
        return None
    if not all(_repeats(stored, count, file) for stored in tensors.values()):
        return None
    notice = (
        f"{file.path.name}: every array has a first axis of {count}, along which its values repeat: parameters"
        " replicated over devices, of which the first are taken"
    )
    return {name: _without_first_axis(stored) for name, stored in tensors.items()}, notice


def _repeats(stored: Stored, count: int, file: FileReader) -> bool:
    """Tell whether the parts of an array along its first axis are the same, byte for byte."""
    start, size = stored.chunks[0].offset, stored.spec.nbytes // count
    for at in range(0, size, BLOCK_BYTES):
        length = min(BLOCK_BYTES, size - at)
        first = file.read(start + at, length)
        if any(file.read(start + part * size + at, length) != first for part in range(1, count)):
            return False
    return True


def _without_first_axis(stored: Stored) -> Stored:
    spec = replace(stored.spec, shape=stored.spec.shape[1:])
    return Stored.in_file(spec, stored.path, [Extent(stored.chunks[0].offset, spec.nbytes)])
