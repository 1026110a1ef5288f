"""`operations.alignment`: what is compared, what is not, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.alignment import Aligned, align
from ckptconv.verbs.pairing import hold

if TYPE_CHECKING:
    from conftest import MakePair, Pair

KEY = "encoder.encoder.layer.0.output.dense.bias"


def aligned(one: Path, other: Path) -> Aligned:
    """Align two checkpoints."""
    return align(hold(open_checkpoint(one)), hold(open_checkpoint(other)))


def test_everything_has_its_counterpart(pair: Pair, tmp_path: Path) -> None:
    """Of two forms of one pair nothing is left over; each case knows its axes."""
    source = pair.write(tmp_path / "source")
    ckptconv.pt2tf(source, tmp_path / "tf")
    found = aligned(source, tmp_path / "tf")
    assert (len(found.cases), found.alone, found.zeros, found.notices) == (
        len(pair.arrays),
        [],
        {},
        (),
    )
    (query,) = [
        case
        for case in found.cases
        if case.move.row.key.endswith("layer.1.crossattention.self.query.weight")
    ]
    assert (query.labels, query.move.permutation) == (("in", "out"), (1, 0))


def test_what_neither_has_is_said(pair: Pair, tmp_path: Path) -> None:
    """A tensor that the config asks for and both lack is no difference, and no secret."""
    del pair.arrays[KEY]
    one = pair.write(tmp_path / "one")
    assert aligned(one, one).notices == (
        f"{KEY}: in neither of the two, though the config asks for it",
    )


def test_strangers_in_two_namings(pair: Pair, tmp_path: Path) -> None:
    """Names that no table knows mean nothing in another framework: each stands alone."""
    source = pair.write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax")
    pair.arrays["step"] = np.arange(3, dtype=np.float32)
    found = aligned(tmp_path / "flax", pair.write(tmp_path / "stray"))
    assert [(one.row.key, one.relation.kind) for one in found.alone] == [("step", "only in B")]


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
