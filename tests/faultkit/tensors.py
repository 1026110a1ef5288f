"""The tensors of a good conversion, where their bytes lie, and how to write others over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ckptconv.binding.bind import bind_whole
from ckptconv.binding.plan import Move, make_plan
from ckptconv.schema.model import Model, applied_fixes
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.tensor import Stored

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a good conversion."""

    name: str
    """As the target spells it."""
    move: Move
    array: Array
    place: Stored
    naming: NamingName

    @property
    def levels(self) -> list[str]:
        """The tensor's key, level by level."""
        return self.move.tensor.key.split(".")

    @property
    def labels(self) -> tuple[str, ...]:
        """How the tables call the stored axes."""
        return self.move.tensor.spellings[self.naming].axes

    @property
    def is_flat(self) -> bool:
        """True where all values are one and the same, so that moving them changes nothing."""
        return bool((self.array == self.array.flat[0]).all())


def tensors(source: Checkpoint, composition: Model, target: Checkpoint) -> dict[str, Tensor]:
    """Return every float tensor of a good conversion: key -> tensor."""
    naming = target.weights.naming
    fixes = applied_fixes(composition, target.config)
    plan = make_plan(bind_whole(composition, source), naming, what=str(source.path), fixes=fixes)
    result = target.weights.tensors
    return {
        move.tensor.key: Tensor(
            move.target.name,
            move,
            _read(result[move.target.name]),
            result[move.target.name],
            naming,
        )
        for move in plan.moves
        if result[move.target.name].spec.dtype == "float32"
    }


def _read(place: Stored) -> Array:
    """Return a copy of the values that a file holds at a place, row-major."""
    with place.path.open("rb") as file:
        runs = []
        for extent in place.extents:
            file.seek(extent.offset)
            runs.append(file.read(extent.nbytes))
    return np.frombuffer(b"".join(runs), np.float32).reshape(place.spec.shape).copy()


def write(place: Stored, array: Array, folder: Path | None = None) -> None:
    """Write values over a stored tensor's; `folder` is that of a copy of its checkpoint."""
    data = np.ascontiguousarray(array, np.float32).tobytes()
    with (folder / place.path.name if folder else place.path).open("r+b") as file:
        for extent in place.extents:
            file.seek(extent.offset)
            file.write(data[: extent.nbytes])
            data = data[extent.nbytes :]
