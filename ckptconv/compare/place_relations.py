"""Relations in which elements move: axes in another order, rows shifted, permuted or overwritten."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from ckptconv.compare.value_relations import Match
from ckptconv.transfer.casting import Items

SHOWN = 4
"""Rows that a sentence names."""
NOWHERE = -1


def transposed(expected: Items, actual: Items) -> Match | None:
    """Say that the axes are in another order, even where the bytes were then read in the expected shape."""
    if not actual.size:
        return None
    axes = tuple(n for n, size in enumerate(expected.shape) if size > 1)
    shape = tuple(expected.shape[n] for n in axes)
    old, flat = expected.reshape(shape), actual.reshape(-1)
    for order in permutations(range(len(shape))):
        turned = old.transpose(order)
        if order == tuple(range(len(shape))) or not _begins(turned, flat):
            continue
        if np.array_equal(turned, flat.reshape(turned.shape)):
            unchanged = (
                "" if turned.shape == old.shape else ", its numbers then read in the expected shape"
            )
            if len(shape) == 2:
                return "transposed", f"transposed{unchanged}"
            return (
                "transposed",
                f"axes in the order {' '.join(str(axes[n]) for n in order)}{unchanged}",
            )
    return None


def _begins(turned: Items, flat: Items) -> bool:
    """Compare the first run of items, which settles nearly every case."""
    first = turned[(0,) * (turned.ndim - 1)]
    return np.array_equal(first, flat[: first.size])


def rows(expected: Items, actual: Items, labels: tuple[str, ...]) -> Match | None:
    """Say which rows moved, along the first axis or along the last.

    Args: labels: how the tables call the axes, such as out and in.
    """
    if not actual.size or not actual.ndim:
        return None
    for axis in dict.fromkeys((0, expected.ndim - 1)):
        name = labels[axis] if axis < len(labels) else f"axis {axis}"
        old, new = (
            np.ascontiguousarray(np.moveaxis(items, axis, 0)) for items in (expected, actual)
        )
        answer = _rows(old.reshape(len(old), -1), new.reshape(len(new), -1), name)
        if answer:
            return answer
    return None


def _rows(old: Items, new: Items, name: str) -> Match | None:
    """Look along one axis."""
    wrong = np.flatnonzero((old != new).any(axis=1))
    if len(old) < 2 or not len(wrong):
        return None
    origin = _origins(old, new, wrong)
    if len(wrong) == 1:
        return _one_row(old, new, int(wrong[0]), int(origin[0]), name)
    located = origin != NOWHERE
    shift = _shift(wrong[located], origin[located], len(old))
    if shift and located.sum() * 2 > len(wrong) and (len(wrong) - located.sum() <= abs(shift)):
        lost = int(len(wrong) - located.sum())
        rest = f"; {lost} at the end hold other values" if lost else ""
        return "shifted", f"shifted by {shift} along {name}{rest}"
    if located.all():
        shown = ", ".join(
            f"{at} holds {came}" for at, came in list(zip(wrong, origin, strict=True))[:SHOWN]
        )
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        order = (
            "in another order"
            if len(set(origin.tolist())) == len(wrong)
            else "overwritten with others"
        )
        return "permuted", f"{len(wrong)} of {len(old)} along {name} are {order}: {shown}{more}"
    return None


def _origins(old: Items, new: Items, wrong: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each wrong row the one whose values it has: by preference in another wrong place."""
    order = np.concatenate([np.setdiff1d(np.arange(len(old)), wrong), wrong[::-1]])
    place = {hash(old[at].tobytes()): int(at) for at in order}
    came = [place.get(hash(new[at].tobytes()), NOWHERE) for at in wrong]
    sure = [
        at if at != NOWHERE and np.array_equal(old[at], new[to]) else NOWHERE
        for at, to in zip(came, wrong, strict=True)
    ]
    return np.array(sure, np.intp)


def _shift(wrong: NDArray[np.intp], origin: NDArray[np.intp], count: int) -> int:
    """Return by how many places all rows moved, round the end or not; 0 where they did not move together."""
    if len(wrong) < 2:
        return 0
    moved = np.unique((wrong - origin) % count)
    if len(moved) != 1:
        return 0
    return int(moved[0]) if moved[0] * 2 <= count else int(moved[0]) - count


def _one_row(old: Items, new: Items, at: int, origin: int, name: str) -> Match | None:
    """Say what became of the only row that differs."""
    width = old.shape[1]
    if width < 2 or int(np.count_nonzero(old[at] != new[at])) * 2 <= width:
        return None
    what = "changed"
    if origin != NOWHERE:
        what = f"holds {origin}"
    elif not new[at].any():
        what = "is all zeros"
    elif shift := _rolled(old[at], new[at]):
        what = f"is shifted by {shift} within itself"
    return "row", f"{at} along {name} {what}; all others are right"


def _rolled(old: Items, new: Items) -> int:
    """Return by how many places a row was rolled; 0 where it was not."""
    for start in np.flatnonzero(new == old[0]):
        if start and np.array_equal(np.roll(old, int(start)), new):
            return int(start) if start * 2 <= len(old) else int(start) - len(old)
    return 0
