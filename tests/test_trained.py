"""Trained weights: a real BERT joined to itself and trained on, converted, and verified over many seeds.

Random weights of tiny models are kind to a comparison: their attention is spread and their errors are many and small.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv import JoinOptions, WriteOptions
from ckptconv.run.yardstick import RMS_FACTOR
from trained import joined, minilm, trained_on

if TYPE_CHECKING:
    from conftest import Counted

pytestmark = [pytest.mark.frameworks, pytest.mark.soak]

STEPS = (0, 1, 3, 10, 150)
SEEDS = {"tf": 13, "flax": 4}
"""How often the inputs of a verification are drawn."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which all lies."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def model(work: Path) -> Path:
    """Return the trained model."""
    try:
        return minilm(work / "minilm")
    except LookupError as error:
        if os.environ.get("CKPTCONV_TRAINED"):  # set by `make soak`, which installs it
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pairs(work: Path, model: Path) -> dict[int, Path]:
    """Return the pair after so many steps of training."""
    return trained_on(joined(model, work / "joined"), STEPS, work)


def new_parts(checkpoint: Path) -> set[str]:
    """Return which parts `inspect --stats` calls newly initialised, by the tensors that it names."""
    lines = ckptconv.inspect(checkpoint, stats=True).tensors
    return {line.part for line in lines if "new" in line.signs}


def test_what_is_new_is_called_new(work: Path, model: Path, pairs: dict[int, Path]) -> None:
    """Of a joined pair the cross-attention and the head, in any dtype; nothing after one step, nor in the model."""
    assert new_parts(model) == set()
    assert new_parts(work / "joined") == {"cross-attention", "head"}
    assert {steps: new_parts(pair) for steps, pair in pairs.items()} == {
        steps: set() if steps else {"cross-attention", "head"} for steps in pairs
    }
    for dtype in ("float16", "bfloat16"):
        ckptconv.join(model, model, work / dtype, JoinOptions(dtype=dtype))
        assert new_parts(work / dtype) == {"cross-attention", "head"}
        ckptconv.normalize(pairs[1], work / f"{dtype}-1", WriteOptions(dtype=dtype))
        assert new_parts(work / f"{dtype}-1") == set()


def test_what_was_left_out_of_training(work: Path, model: Path) -> None:
    """A cross-attention that the optimizer was not given looks new after ten steps, and nothing else does."""
    frozen = trained_on(work / "joined", [10], work / "frozen", without="crossattention")
    assert new_parts(frozen[10]) == {"cross-attention"}


@pytest.mark.parametrize("naming", sorted(SEEDS))
def test_a_trained_pair_verifies(
    work: Path, pairs: dict[int, Path], counted: Counted, naming: str
) -> None:
    """Converted, it matches whatever the inputs; how near the limits that comes is counted."""
    target = work / naming
    getattr(ckptconv, f"pt2{naming}")(pairs[150], target)
    quantities = []
    for seed in range(SEEDS[naming]):
        verdict = ckptconv.verify(pairs[150], target, seed=seed, timeout=3600)
        assert verdict.outputs is not None
        assert verdict.matches, (seed, [str(quantity) for quantity in verdict.outputs.outside])
        quantities += verdict.outputs.quantities
    rms, worst = (max(quantity.ratios[place] for quantity in quantities) for place in (0, 1))
    crest = max(each.own.worst / each.own.rms for each in quantities if each.own and each.own.rms)
    counted(
        f"trained pair, {naming}: {SEEDS[naming]} seeds, {len(quantities)} quantities; largest"
        f" ratio {rms:.2f} (RMS), {worst:.2f} (max), {crest:.1f} times its RMS reaches PyTorch's own worst element"
    )
    assert rms < RMS_FACTOR
