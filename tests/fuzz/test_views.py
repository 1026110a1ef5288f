"""Views of storages, against counting their elements one by one."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from ckptconv.stores.tensor import ITEMSIZE
from fuzz.harness import count
from stores.formats.test_torch_zip import assert_geometry

if TYPE_CHECKING:
    from conftest import Counted


@pytest.mark.fuzz
def test_geometry(counted: Counted) -> None:
    """A view is read exactly if every element lies in its storage and it repeats none wholesale."""
    views, chance, read = count(20_000), Random(3), 0
    for _ in range(views):
        axes = [
            (chance.randrange(6), chance.choice((0, 1, 2, 5, 12, 40)))
            for _ in range(chance.randrange(5))
        ]
        dtype = chance.choice(sorted(ITEMSIZE))
        read += assert_geometry(chance.randrange(65), chance.choice((0, 0, 1, 7, 60)), axes, dtype)

    assert 0 < read < views
    counted(
        f"{views:,} views of storages against counting: {read:,} read, {views - read:,} refused"
    )
