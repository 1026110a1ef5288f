"""The plan that a conversion follows, made without numpy and without reading a tensor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv import SourceError, WriteOptions
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.formats import FORMATS
from ckptconv.verbs.planning import Way, planned

if TYPE_CHECKING:
    from conftest import MakePair

WAYS = {
    "pt2tf": Way("pytorch", "tf", FORMATS["hdf5"]),
    "pt2flax": Way("pytorch", "flax", FORMATS["msgpack"], heal=True),
    "normalize": Way("pytorch", "pytorch", FORMATS["safetensors"]),
}


@pytest.mark.parametrize("verb", sorted(WAYS))
def test_the_plan_is_the_verbs_own(make_pair: MakePair, tmp_path: Path, verb: str) -> None:
    """What is planned is what the verb says in a dry run, move by move."""
    source = make_pair("roberta", "bert").write(tmp_path / "source")
    done = getattr(ckptconv, verb)(source, tmp_path / "out", options=WriteOptions(dry_run=True))
    made = planned(open_checkpoint(source), WAYS[verb])
    assert (made.plan, made.model.label) == (done.plan, "roberta -> bert")


def test_a_start_token_that_no_healing_mends(make_pair: MakePair, tmp_path: Path) -> None:
    """A RoBERTa decoder that starts with its pad token is refused for Flax alone."""
    pair = make_pair("bert", "roberta")
    pair.config["decoder_start_token_id"] = pair.config["decoder"]["pad_token_id"]
    checkpoint = open_checkpoint(pair.write(tmp_path / "source"))
    assert planned(checkpoint, WAYS["pt2tf"]).plan.moves
    with pytest.raises(
        SourceError, match=r"decoder_start_token_id is the decoder's pad_token_id \(1\)"
    ):
        planned(checkpoint, WAYS["pt2flax"])


def test_planning_needs_no_numpy() -> None:
    """`inspect` starts quickly because of it."""
    code = "import sys, ckptconv.verbs.planning, ckptconv.verbs.inspect; sys.exit('numpy' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False
        ).returncode
        == 0
    )
