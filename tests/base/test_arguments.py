"""`arguments`: a choice that a function in Python does not have is refused, with exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptconv
from ckptconv.base.errors import UsageError
from covering import over

NOWHERE = Path("no-such-folder")
CALLS: dict[str, Callable[[Any], object]] = {
    "level": lambda value: ckptconv.verify(NOWHERE, NOWHERE, value),
    "seed": lambda value: ckptconv.verify(NOWHERE, NOWHERE, seed=value),
    "texts": lambda value: ckptconv.verify(NOWHERE, NOWHERE, texts=value),
    "timeout": lambda value: ckptconv.verify(NOWHERE, NOWHERE, timeout=value),
    "positions": lambda value: ckptconv.verify(NOWHERE, NOWHERE, positions=value),
    "min_coverage": lambda value: ckptconv.verify(NOWHERE, NOWHERE, min_coverage=value),
    "atol": lambda value: ckptconv.Tolerance(value),
    "rtol": lambda value: ckptconv.Tolerance(0.0, value),
    "seed of record": lambda value: ckptconv.record(NOWHERE, NOWHERE, seed=value),
    "positions of record": lambda value: ckptconv.record(NOWHERE, NOWHERE, positions=value),
    "positions of diff": lambda value: ckptconv.diff(NOWHERE, NOWHERE, positions=value),
    "positions of flax2pt": lambda value: ckptconv.flax2pt(NOWHERE, NOWHERE, positions=value),
    "format of pt2tf": lambda value: ckptconv.pt2tf(NOWHERE, NOWHERE, value),
    "format of pt2flax": lambda value: ckptconv.pt2flax(NOWHERE, NOWHERE, value),
    "format of export": lambda value: ckptconv.export(NOWHERE, NOWHERE, value),
    "dtype": lambda value: ckptconv.WriteOptions(dtype=value),
    "max_shard_bytes": lambda value: ckptconv.WriteOptions(max_shard_bytes=value),
    "cross_attention": lambda value: ckptconv.JoinOptions(cross_attention=value),
    "seed of join": lambda value: ckptconv.JoinOptions(seed=value),
    "timeout of doctor": lambda value: ckptconv.doctor(timeout=value),
}
VALUES = ("output", "", -1, float("nan"), ["weights"], True)


@over("name", CALLS)
@over("value", VALUES)
def test_what_is_no_choice_is_refused(name: str, value: Any) -> None:
    """Before anything is read: a misspelt level would else compare less than was asked for, and match."""
    if name == "texts" and isinstance(value, list):
        value = [3]
    with pytest.raises(UsageError, match=f"^{name.split()[0]}: .* is not ") as refusal:
        CALLS[name](value)
    assert refusal.value.exit_code == 2


def test_what_is_a_choice_is_taken() -> None:
    """The next thing that is missed is the folder."""
    options: list[dict[str, Any]] = [
        {"level": "weights"},
        {"level": "outputs", "seed": 3, "texts": ["a"], "timeout": 2.5, "min_coverage": 99},
        {"positions": "trained-in-flax", "tolerance": ckptconv.Tolerance(1e-3, 0)},
    ]
    for chosen in options:
        with pytest.raises(ckptconv.SourceError):
            ckptconv.verify(NOWHERE, NOWHERE, **chosen)
