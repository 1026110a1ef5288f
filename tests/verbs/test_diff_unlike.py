"""`diff` of two that are unlike: what both have is compared, the rest is listed, and what cannot be is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ckptconv
from ckptconv import PlanError, SourceError, diff
from diffing import lines

if TYPE_CHECKING:
    from conftest import MakePair, Pair


def test_two_architectures_share_an_encoder(make_pair: MakePair, tmp_path: Path) -> None:
    """What both have is compared, the rest is listed; of one name and two sizes, the shapes are told."""
    first, second = make_pair("bert", "bert"), make_pair("bert", "gpt2")
    second.arrays |= {
        name: array for name, array in first.arrays.items() if name.startswith("encoder.")
    }
    difference = diff(first.write(tmp_path / "one"), second.write(tmp_path / "other"))
    verdicts = {
        part: {line.verdict for line in difference.tensors if line.key.startswith(part)}
        for part in ("encoder.", "decoder.bert.", "decoder.transformer.")
    }
    assert (difference.matches, verdicts) == (
        False,
        {
            "encoder.": {"equal"},
            "decoder.bert.": {"only in A"},
            "decoder.transformer.": {"only in B"},
        },
    )
    assert ("decoder.model_type", "bert", "gpt2") in [
        (line.key, line.first, line.second) for line in difference.config
    ]


@pytest.mark.thorough
def test_other_sizes(make_pair: MakePair, tmp_path: Path) -> None:
    """A tensor of one name and two shapes is told with both, and a deeper model has more layers."""
    first, second = (
        make_pair("bert", "bert"),
        make_pair("bert", "bert", enc={"intermediate_size": 11}),
    )
    difference = diff(first.write(tmp_path / "one"), second.write(tmp_path / "other"))
    shapes = [line for line in lines(difference) if line[1] == "shape"]
    assert len(shapes) == 2 * 3
    assert (
        "encoder.encoder.layer.0.intermediate.dense.bias",
        "shape",
        "float32 [13] in A, float32 [11] in B",
    ) in shapes
    assert [(line.key, line.first, line.second) for line in difference.config] == [
        ("encoder.intermediate_size", 13, 11)
    ]


def test_nothing_in_common_is_refused(make_pair: MakePair, tmp_path: Path) -> None:
    """Without a tensor to compare there is no verdict."""
    first = make_pair("bert", "bert").write(tmp_path / "one")
    second = make_pair("gpt2", "gpt2", enc={"n_embd": 5}, dec={"n_embd": 5}).write(
        tmp_path / "other"
    )
    with pytest.raises(
        SourceError,
        match=r"one \(bert -> bert\) and .*other \(gpt2 -> gpt2\) have no tensor with the same",
    ):
        diff(first, second)


@pytest.mark.thorough
def test_a_pooler_that_is_left_away(pair: Pair, tmp_path: Path) -> None:
    """What may be absent and then counts as zeros is equal to zeros, and to nothing else."""
    poolers = {name: array for name, array in pair.arrays.items() if "pooler" in name}
    full = pair.write(tmp_path / "full")
    pair.arrays = {name: array for name, array in pair.arrays.items() if name not in poolers}
    bare = pair.write(tmp_path / "bare")
    pair.arrays |= {name: np.zeros_like(array) for name, array in poolers.items()}
    zeros = pair.write(tmp_path / "zeros")
    assert (diff(bare, zeros).matches, diff(zeros, bare).matches) == (True, True)
    assert {line[1] for line in lines(diff(full, bare))} == {"only in A"}
    assert {line[1] for line in lines(diff(bare, full))} == {"only in B"}
    assert len(lines(diff(bare, full))) == len(poolers)


@pytest.mark.thorough
def test_tensors_that_no_table_knows(pair: Pair, tmp_path: Path) -> None:
    """Strangers of one name are compared as they are, and told apart by dtype and shape."""
    pair.arrays |= {"step": np.arange(3), "ema": np.ones(4, np.float32)}
    first = pair.write(tmp_path / "one")
    pair.arrays |= {"step": np.arange(3) + 1, "ema": np.ones(5, np.float32)}
    copy = pair.write(tmp_path / "other")
    assert (diff(first, first).matches, lines(diff(first, copy))) == (
        True,
        [
            ("ema", "shape", "float32 [4] in A, float32 [5] in B"),
            ("step", "changed", "changed"),
        ],
    )


@pytest.mark.thorough
def test_a_healed_table_whose_rows_differ(make_pair: MakePair, tmp_path: Path) -> None:
    """Rows that a healing repeated must be equal for it to be undone; compared the other way they differ."""
    source = make_pair("bert", "bert").write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax", "safetensors")
    path = tmp_path / "flax" / "model.safetensors"
    arrays = load_file(path)
    arrays["encoder.embeddings.token_type_embeddings.embedding"][3] += 1
    save_file(arrays, path, {"format": "flax"})
    with pytest.raises(PlanError, match="healing made them of one row"):
        diff(tmp_path / "flax", source)
    ((key, kind, detail),) = lines(diff(source, tmp_path / "flax"))
    assert (key, kind) == ("encoder.embeddings.token_type_embeddings.weight", "row")
    assert detail == "3 along row changed; all others are right"
