"""The trained models of one piece and of images: converted, they match, and both sides answer what is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ckptconv
from ckptconv.verbs.verify import Verification

pytestmark = pytest.mark.frameworks

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONVERSIONS = {"tf": ckptconv.pt2tf, "flax": ckptconv.pt2flax}
PICTURES = FIXTURES / "digits" / "heldout" / "inputs.jsonl"


def verified(name: str, naming: str, folder: Path, **inputs: object) -> Verification:
    """Convert a trained model and verify it with inputs of its own."""
    CONVERSIONS[naming](FIXTURES / name, folder / naming)
    return ckptconv.verify(FIXTURES / name, folder / naming, timeout=600, **inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("naming", ["tf", pytest.param("flax", marks=pytest.mark.soak)])
def test_a_t5_answers_the_dates(naming: str, tmp_path: Path) -> None:
    """Weights, states, logits and searches match, and held-out dates come out right on both sides."""
    lines = (FIXTURES / "dates" / "heldout.tsv").read_text().splitlines()[:25]
    dates = dict(line.split("\t") for line in lines)
    verification = verified("dates-t5", naming, tmp_path, texts=list(dates))
    assert verification.matches
    assert verification.outputs is not None
    answers = {text: {source, target} for text, source, target in verification.outputs.texts}
    right = sum(answers[text] == {iso} for text, iso in dates.items())
    assert right >= len(dates) - 1  # 98 % of them are right, and these could have been others


@pytest.mark.parametrize("naming", ["tf", pytest.param("flax", marks=pytest.mark.soak)])
def test_a_vit_gpt2_reads_the_numbers(naming: str, tmp_path: Path) -> None:
    """Pictures go through each side's own processor; all that is computed matches, and the numbers are read."""
    examples = [json.loads(line) for line in PICTURES.read_text().splitlines()]
    pictures = {str(PICTURES.parent / example["image"]): example["target"] for example in examples}
    verification = verified("digits", naming, tmp_path, inputs=PICTURES, texts=list(pictures))
    assert verification.matches
    assert verification.outputs is not None
    assert {
        quantity.name
        for quantity in verification.outputs.quantities
        if quantity.probe == "inputs-0"
    } >= {"encoder.last", "logits"}
    assert verification.outputs.texts == tuple(
        (picture, number, number) for picture, number in pictures.items()
    )
