"""`align`: what is compared, what is not, and what only one of the two has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv.binding.align import Alignment, align
from ckptconv.binding.identify import identify
from ckptconv.stores.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from conftest import MakePair, Pair

KEY = "encoder.encoder.layer.0.output.dense.bias"


def aligned(one: Path, other: Path) -> Alignment:
    """Align two checkpoints."""
    return align(*(identify(open_checkpoint(path)).binding for path in (one, other)))


def test_everything_has_its_counterpart(pair: Pair, tmp_path: Path) -> None:
    """Of two forms of one pair nothing is left over; each case knows its axes."""
    source = pair.write(tmp_path / "source")
    ckptconv.pt2tf(source, tmp_path / "tf")
    result = aligned(source, tmp_path / "tf")
    left = (result.unpaired, result.zeros, result.absent, result.without_place)
    assert (len(result.pairs), left) == (len(pair.arrays), ([], {}, [], []))
    (query,) = [
        pair
        for pair in result.pairs
        if pair.move.tensor.key.endswith("layer.1.crossattention.self.query.weight")
    ]
    assert (query.labels, query.move.permutation) == (("in", "out"), (1, 0))


def test_what_neither_has_is_said(pair: Pair, tmp_path: Path) -> None:
    """A tensor that the config asks for and both lack is no difference, and no secret."""
    del pair.arrays[KEY]
    one = pair.write(tmp_path / "one")
    assert aligned(one, one).absent == [KEY]
    assert ckptconv.diff(one, one).notices == (
        f"{KEY}: in neither of the two, though the config asks for it",
    )


def test_strangers_in_two_namings(pair: Pair, tmp_path: Path) -> None:
    """Names that no table knows mean nothing in another framework: each stands alone."""
    source = pair.write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax")
    pair.arrays["step"] = np.arange(3, dtype=np.float32)
    result = aligned(tmp_path / "flax", pair.write(tmp_path / "stray"))
    assert [(item.tensor.key, item.first) for item in result.unpaired] == [("step", None)]


@pytest.mark.parametrize("way", [("healed", "plain"), ("plain", "healed"), ("healed", "healed")])
def test_healed_tables(make_pair: MakePair, tmp_path: Path, way: tuple[str, str]) -> None:
    """Rows move only where one side is healed and the other is not."""
    source = make_pair("roberta", "bert").write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "healed")
    ckptconv.pt2flax(source, tmp_path / "plain", heal=False)
    tables = [
        "encoder.embeddings.position_embeddings.weight",
        "encoder.embeddings.token_type_embeddings.weight",
    ]
    moved = sorted(aligned(tmp_path / way[0], tmp_path / way[1]).reordered)
    assert moved == ([] if way[0] == way[1] else tables)
