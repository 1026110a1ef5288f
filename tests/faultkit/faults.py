"""Faults for the tensors of a good conversion: every kind of mistake that a converter can make, and a few of disks.

A fault says which tensors of the target it changes, into what, and what may then be said of them. It is planted by
writing the new values over the old ones, at the places that the format's own reader gives, and undone the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from faultkit.tensors import Array, Tensor, write

KEYS = {"query": "key", "q_proj": "k_proj", "q_lin": "k_lin", "q": "k", "query_proj": "key_proj"}
"""How families call a query's module -> the key's."""
FUSED = "c_attn"
"""GPT-2's query, key and value in one, side by side."""
STD = 0.02
"""Of new weights, in nearly every family."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to some tensors, and what may be said of them."""

    kind: str
    values: Mapping[str, Array]
    """Name in the target -> the values that it gets."""
    says: frozenset[str]
    """The kinds of relation that describe it."""

    def __str__(self) -> str:
        return f"{self.kind}: {', '.join(sorted(self.values))}"


@contextmanager
def planted(fault: Fault, known: Mapping[str, Tensor]) -> Iterator[None]:
    """Plant a fault where the target lies; take it back at the end. `known`: name in the target -> tensor."""
    try:
        for name, array in fault.values.items():
            write(known[name].place, array)
        yield
    finally:
        for name in fault.values:
            write(known[name].place, known[name].array)


def faults(known: Mapping[str, Tensor]) -> Iterator[Fault]:
    """Return every fault of every kind that changes a bit, kind by kind."""
    for kind, says, change in SINGLE:
        for number, first in enumerate(known.values()):
            changed = change(first, np.random.default_rng([number, first.array.size]))
            if changed is not None and changed.tobytes() != first.array.tobytes():
                yield Fault(kind, {first.name: changed}, frozenset(says.split()))
    for kind, partner in SWAPS:
        for first in known.values():
            second = known.get(partner(first, known))
            if second and _fits(first, second):
                values = {first.name: second.array, second.name: first.array}
                yield Fault(
                    kind, values, frozenset({"swapped", "copied"})
                )  # copied: of one that equals the other
    yield from _new_cross_attention(known)


def _fits(one: Tensor, other: Tensor) -> bool:
    """Tell whether a swap passes every check of shapes and changes something."""
    return one.array.shape == other.array.shape and one.array.tobytes() != other.array.tobytes()


def transposed(one: Tensor, _random: Any) -> Array | None:
    """Write the axes in reverse order, without their names: what a forgotten transpose leaves."""
    if np.squeeze(one.array).ndim < 2:
        return None
    return np.ascontiguousarray(one.array.T).reshape(one.array.shape)


def row_shifted(one: Tensor, random: np.random.Generator) -> Array | None:
    """Shift one row by one within itself."""
    if one.array.ndim != 2 or one.array.shape[1] < 4 or len(one.array) < 2:
        return None
    changed = one.array.copy()
    rows = [n for n, row in enumerate(changed) if len(np.unique(row)) == row.size]
    if not rows:
        return None
    row = int(random.choice(rows))
    changed[row] = np.roll(changed[row], 1)
    return changed


def positions_shifted(one: Tensor, _random: Any) -> Array | None:
    """Shift a table of positions by one: what a forgotten offset leaves."""
    key = one.move.tensor.key
    if not ("position" in key or "wpe" in key) or "row" not in one.labels or len(one.array) < 4:
        return None
    return np.roll(one.array, 1, one.labels.index("row"))


def element(one: Tensor, random: np.random.Generator) -> Array:
    """Change one element by a thousandth."""
    changed = one.array.copy()
    at = int(random.choice(np.flatnonzero(changed))) if changed.any() else 0
    changed.flat[at] = changed.flat[at] * np.float32(1.001) or np.float32(1e-3)
    return changed


def bit(one: Tensor, random: np.random.Generator) -> Array:
    """Flip one bit of one element."""
    changed = one.array.copy()
    flat = changed.reshape(-1).view(np.uint32)
    flat[random.integers(flat.size)] ^= np.uint32(1 << int(random.integers(32)))
    return changed


def bias_dropped(one: Tensor, _random: Any) -> Array | None:
    """Lose a bias."""
    return None if one.levels[-1] != "bias" or one.is_flat else np.zeros_like(one.array)


def scaled(one: Tensor, _random: Any) -> Array | None:
    """Multiply by what the root of a head's width might be."""
    return None if one.array.size < 2 else one.array * np.float32(0.35)


def rounded(one: Tensor, _random: Any) -> Array | None:
    """Go through float16 on the way."""
    if one.array.size < 4 or np.abs(one.array).max() > 6e4:
        return None
    return one.array.astype(np.float16).astype(np.float32)


def untied(one: Tensor, random: np.random.Generator) -> Array | None:
    """Give a tensor that repeats another values of its own."""
    row = one.move.tensor
    if row.tied_to is None or not (row.module.tied or row.module.copied):
        return None
    return (one.array + random.normal(0, 0.1, one.array.shape)).astype(np.float32)


def fused_swapped(one: Tensor, _random: Any) -> Array | None:
    """Exchange query and key inside GPT-2's fused layer."""
    if FUSED not in one.levels or "crossattention" in one.levels or "out" not in one.labels:
        return None
    query, key, value = np.split(one.array, 3, one.labels.index("out"))
    return np.concatenate([key, query, value], one.labels.index("out"))


Change: TypeAlias = Callable[[Tensor, Any], "Array | None"]
SINGLE: Sequence[tuple[str, str, Change]] = (
    ("transposed", "transposed", transposed),
    ("one row shifted", "row", row_shifted),
    ("positions shifted by one", "shifted", positions_shifted),
    ("one element changed by 1e-3", "element bit", element),
    ("one bit flipped", "bit", bit),
    ("bias dropped", "zeros", bias_dropped),
    ("scaled", "scaled", scaled),
    ("rounded to float16", "rounded element bit", rounded),
    ("tie broken", "untied changed", untied),
    ("query and key swapped in one tensor", "permuted shifted", fused_swapped),
)
"""Kind, the relations that may be told of it, and what is done to a tensor; None: not to this one."""


def _key_of(one: Tensor, _known: Any) -> str:
    """Return the key of a query's tensor's partner in the key; empty for others."""
    at = next((n for n, level in enumerate(one.levels) if level in KEYS), None)
    return (
        ""
        if at is None
        else ".".join([*one.levels[:at], KEYS[one.levels[at]], *one.levels[at + 1 :]])
    )


def _next_layer(one: Tensor, _known: Any) -> str:
    at = next((n for n, level in enumerate(one.levels) if level.isdigit()), None)
    return (
        ""
        if at is None
        else ".".join([*one.levels[:at], str(int(one.levels[at]) + 1), *one.levels[at + 1 :]])
    )


def _beta(one: Tensor, _known: Any) -> str:
    gain = one.move.tensor.module.kind in ("norm", "affine") and one.levels[-1] == "weight"
    return ".".join([*one.levels[:-1], "bias"]) if gain else ""


def _other_side(one: Tensor, known: Mapping[str, Tensor]) -> str:
    """Return the decoder's tensor at the same path, whatever the level of its base is called."""
    if one.levels[0] != "encoder":
        return ""
    tail = one.levels[1:]
    return next(
        (
            key
            for key, other in known.items()
            if other.levels[0] == "decoder" and other.levels[2:] == tail
        ),
        "",
    )


Partner: TypeAlias = Callable[[Tensor, Mapping[str, Tensor]], str]
SWAPS: Sequence[tuple[str, Partner]] = (
    ("query and key swapped", _key_of),
    ("layers i and i+1 swapped", _next_layer),
    ("gamma and beta swapped", _beta),
    ("encoder and decoder swapped", _other_side),
)
KINDS = (
    *(kind for kind, *_ in SINGLE),
    *(kind for kind, _ in SWAPS),
    "cross-attention re-initialised",
)


def _new_cross_attention(known: Mapping[str, Tensor]) -> Iterator[Fault]:
    """Draw the cross-attention of each layer anew: what a model that was warm-started, not loaded, has."""
    layers: dict[str, list[Tensor]] = {}
    for key, one in known.items():
        if one.move.tensor.module.part == "cross-attention":
            number = next((level for level in key.split(".") if level.isdigit()), "")
            layers.setdefault(number, []).append(one)
    for number, members in layers.items():
        random = np.random.default_rng(int(number or 0))
        values = {
            member.name: random.normal(0, STD, member.array.shape).astype(np.float32)
            for member in members
        }
        yield Fault(KINDS[-1], values, frozenset({"initialised", "changed"}))
