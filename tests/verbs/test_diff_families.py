"""`diff` over every family: conversions are equal, and a fault in any kind of tensor is found and named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import ckptconv
from ckptconv import diff
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from conftest import DECODER, Pair
from tiny import pairs, plain

Arrays: TypeAlias = dict[str, NDArray[Any]]
PAIRS = sorted({(naming, *pair) for naming in ("tf", "flax") for pair in pairs(naming)})


def random_checkpoint(
    encoder: str, decoder: str, folder: Path, **whole: Any
) -> tuple[Path, dict[str, str]]:
    """Write a pair of two families with random weights, and return its ties: key -> key of what it repeats.

    Args: whole: more settings of the whole.
    """
    config = {
        "model_type": "encoder-decoder",
        "is_encoder_decoder": True,
        "encoder": plain(encoder),
        "decoder": plain(decoder) | DECODER,
        "decoder_start_token_id": 5,
        **whole,
    }
    composition = read_model(Config(config))
    rows = [
        row
        for row in composition.tensors
        if "pytorch" in row.spellings and not (row.tied_to and row.module.tied)
    ]
    random = np.random.default_rng(1)
    arrays = {
        row.spellings["pytorch"].names[0]: random.standard_normal(row.shape("pytorch")).astype(
            np.float32
        )
        for row in rows
        if row.module.presence != "dropped"
    }
    for row in (
        rows
    ):  # a tensor that the other framework has no place for must equal the one that it repeats
        if row.tied_to in arrays and row.key in arrays:
            arrays[row.key] = arrays[row.tied_to].copy()
    ties = {row.key: row.tied_to for row in composition.tensors if row.tied_to and row.module.tied}
    return Pair(config, arrays).write(folder), ties


def damaged(array: NDArray[Any], number: int) -> tuple[NDArray[Any], set[str]]:
    """Return a tensor with a fault of a kind that goes by its number, and what may be said of it."""
    faults: list[tuple[NDArray[Any], set[str]]] = [
        (array * np.float32(1.5), {"scaled"}),
        (-array, {"negated"}),
        (np.zeros_like(array), {"zeros"}),
        (array.astype(np.float16).astype(np.float32), {"rounded"}),
    ]
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        faults.append((array.T, {"transposed"}))
    if len(array) > 3 and array.ndim > 1:
        faults.append((np.roll(array, 1, 0), {"shifted"}))
    one = array.copy()
    one.reshape(-1)[-1] *= np.float32(1.001)
    return (*faults, (one, {"element", "bit"}))[number % (len(faults) + 1)]


@pytest.mark.thorough
@pytest.mark.parametrize(("naming", "encoder", "decoder"), PAIRS)
def test_every_family(tmp_path: Path, naming: str, encoder: str, decoder: str) -> None:
    """A conversion is equal to its source; with a fault in every seventh tensor, those and no others are named."""
    source, ties = random_checkpoint(encoder, decoder, tmp_path / "source")
    getattr(ckptconv, f"pt2{naming}")(source, tmp_path / "out")
    good = diff(source, tmp_path / "out")
    assert good.matches
    bad = shutil.copytree(source, tmp_path / "bad")
    arrays = load_file(bad / "model.safetensors")
    expected = {}
    keys = {tensor.key for tensor in good.tensors}
    for number, name in enumerate(sorted(keys & arrays.keys())[::7]):
        if arrays[name].size > 1:
            arrays[name], expected[name] = damaged(arrays[name], number)
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(kept, bad / "model.safetensors", {"format": "pt"})
    verdicts = {line.key: line.verdict for line in diff(tmp_path / "out", bad).worst_first}
    expected |= {
        key: expected[of] for key, of in ties.items() if of in expected and key in verdicts
    }
    assert {
        name: kind for name, kind in verdicts.items() if kind not in expected.get(name, set())
    } == {}
    assert verdicts.keys() == expected.keys()
