"""Tensors of a part under the names that they have in the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ckptconv.base.errors import PlanError, Problem
from ckptconv.schema.family import Twin
from ckptconv.schema.models.pair import Composition
from ckptconv.schema.tensors import Row
from ckptconv.stores.tensor import ITEMSIZE, Extent, Stored


def assign(
    rows: Iterable[Row], side: str, tensors: Mapping[str, Stored], base: str
) -> tuple[dict[str, Stored], list[str]]:
    """Find a part's tensors in the whole: as `AutoModel` names them, or below the base model's attribute.

    Returns: name in the whole, in today's spelling -> tensor, and the names that the whole has no use for, such as
    other heads.
    Raises: PlanError: two tensors claim the same name.
    """
    known = {
        name: row.key
        for row in rows
        if "pytorch" in row.spellings
        for name in row.spellings["pytorch"].names
    }
    index: dict[str, Stored] = {}
    own: dict[str, str] = {}
    unused, problems = [], []
    for name, stored in tensors.items():
        spellings = [
            f"{side}.{name}",
            f"{side}.{base}.{name}",
            f"{side}.{name.removeprefix(f'{base}.')}",
        ]
        whole = next((known[spelled] for spelled in spellings if spelled in known), None)
        if whole is None:
            unused.append(name)
        elif whole in index:
            problems.append(Problem("duplicate", name, f"the same tensor as {own[whole]}"))
        else:
            index[whole], own[whole] = replace(stored, spec=stored.spec.renamed(whole)), name
    if problems:
        raise PlanError(f"{side}: names", problems)
    return index, unused


def from_self_attention(
    rows: Iterable[Row], composition: Composition, index: Mapping[str, Stored]
) -> dict[str, Stored]:
    """Return, for the rows of a new cross-attention, the values of the self-attention beside it."""
    found = {}
    for row in rows:
        for path, twin in composition.decoder_part.self_attention.items():
            layer, between, role = row.key.rpartition(f".{path}.")
            stored = index.get(f"{layer}.{twin.path}.{role}") if between else None
            if stored is not None:
                found[row.key] = _share(stored, row, twin)
    return found


def _share(stored: Stored, row: Row, twin: Twin) -> Stored:
    """Return some of the equal parts of a tensor along its output axis, as a view of the file."""
    axes = row.spellings["pytorch"].axes
    if twin.of == 1 or len(stored.spec.shape) != len(axes):  # the plan refuses another shape
        return stored
    axis = axes.index("out")
    shape = list(stored.spec.shape)
    width = shape[axis] // twin.of
    strides = stored.strides or tuple(_row_major(shape))
    item = ITEMSIZE[stored.spec.dtype]
    offset = stored.extents[0].offset + twin.first * width * strides[axis] * item
    shape[axis] = (twin.last - twin.first) * width
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    spec = replace(stored.spec, shape=tuple(shape))
    return Stored.in_file(
        spec, stored.path, (Extent(offset, span * item),), strides, stored.checksum
    )


def _row_major(shape: list[int]) -> Iterator[int]:
    step = 1
    for size in shape:
        step *= size
    for size in shape:
        step //= max(size, 1)
        yield step
