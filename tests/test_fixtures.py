"""The trained models in `fixtures/`: whole, small, and with answers that were not trained on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ckptconv
from ckptconv.run.inputs import read_inputs
from ckptconv.schema.model import read_model
from ckptconv.stores.checkpoint import read_config
from ckptconv.verbs.demo import MODELS

FIXTURES = Path(__file__).parents[1] / "fixtures"
MOST_BYTES = 2_000_000
FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_is_whole_and_small(name: str) -> None:
    """Every tensor is there and every command takes it; with tokenizer and processor it is at most 2 MB."""
    folder = FIXTURES / name
    inspection = ckptconv.inspect(folder)
    assert inspection.problems == ()
    assert not any(target.refusal for target in inspection.targets)
    extra = {"preprocessor_config.json"} if name == "digits" else set()
    assert {path.name for path in folder.iterdir()} >= FILES | extra
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MOST_BYTES


def test_the_pictures_are_of_numbers_that_were_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of the inputs names a picture beside it, of the number that it says, which no training drew."""
    monkeypatch.setattr(sys, "path", [str(FIXTURES), *sys.path])
    import draw_digits  # type: ignore[import-not-found]  # a script beside the fixtures

    path = FIXTURES / "digits" / "heldout" / "inputs.jsonl"
    examples = read_inputs(path, read_model(read_config(FIXTURES / "digits"))).examples
    training, heldout = draw_digits.split_numbers()
    assert len(examples) >= 8
    assert {example.target for example in examples} <= set(heldout)
    assert set(heldout).isdisjoint(number for numbers in training for number in numbers)
    pictures = {path.name for path in path.parent.glob("*.png")}
    assert pictures == {json.loads(line)["image"] for line in path.read_text().splitlines()}


def test_a_picture_is_the_same_again_and_has_its_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed draws one picture; ten digits have ten forms, and the ink of a number is within the picture."""
    monkeypatch.setattr(sys, "path", [str(FIXTURES), *sys.path])
    import draw_digits

    def picture(number: str, seed: int) -> NDArray[np.uint8]:
        drawn: NDArray[np.uint8] = draw_digits.draw(number, np.random.default_rng(seed))
        return drawn

    assert np.array_equal(picture("4071", 3), picture("4071", 3))
    assert not np.array_equal(picture("4071", 3), picture("4071", 4))
    assert len({bitmap.tobytes() for bitmap in draw_digits.BITMAPS.values()}) == 10
    for seed in range(20):
        assert picture("8888", seed).shape == (draw_digits.SIDE, draw_digits.SIDE)
