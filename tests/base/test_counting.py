"""Progress adds up, whichever threads report it, and reaches its end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ckptconv
from ckptconv.base.workers import counted

VERBS: dict[str, Callable[..., Any]] = {
    "verify": lambda one, other, out, tell: ckptconv.verify(one, other, "weights", progress=tell),
    "diff": lambda one, other, out, tell: ckptconv.diff(one, other, progress=tell),
    "check": lambda one, other, out, tell: ckptconv.check(other, progress=tell),
    "pt2tf": lambda one, other, out, tell: ckptconv.pt2tf(
        one, out, options=ckptconv.WriteOptions(progress=tell)
    ),
}


def test_threads_add_up() -> None:
    """Eight threads that report at once lose nothing, and what is told only grows."""
    told: list[tuple[int, int]] = []
    add = counted(lambda done, total: told.append((done, total)), 8000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: add(1), range(8000)))
    assert told == [(index, 8000) for index in range(1, 8001)]


@pytest.mark.parametrize("name", VERBS)
def test_verbs_tell_their_progress(
    name: str, dates: Path, converted_tf: Path, tmp_path: Path
) -> None:
    """Bytes done grow, and end at the bytes to do, which never change."""
    told: list[tuple[int, int]] = []
    VERBS[name](
        dates, converted_tf, tmp_path / "out", lambda done, total: told.append((done, total))
    )
    assert told == sorted(told)
    assert {total for _, total in told} == {told[-1][0]}
    assert len(told) > 5
