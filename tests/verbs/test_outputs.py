"""`outputs`: the real classes run, whichever frameworks the two sides are for, on the user's inputs as well."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import ckptconv
from ckptconv.verbs.verify import verify


@pytest.mark.frameworks
def test_neither_side_is_pytorchs(converted_tf: Path, converted_flax: Path, tmp_path: Path) -> None:
    """TF against Flax: a temporary PyTorch model is the reference of both, on sentences too."""
    sentences = tmp_path / "dates.jsonl"
    sentences.write_text(
        '{"text": "the 3rd of March, 1998", "target": "1998-03-03"}\n{"text": "Tue 4 Nov 2025"}\n'
    )
    result = verify(
        converted_tf, converted_flax, inputs=sentences, texts=["3 May 1999"], timeout=600
    )
    report = result.outputs
    assert report is not None
    assert result.matches, [(item.probe, item.name, item.ratios) for item in report.outside]
    assert [answer.runner for answer in report.answers] == ["tf", "flax", "pytorch"]
    assert report.reference.runner == "pytorch"
    assert {quantity.judged for quantity in report.quantities} == {("source", "target")}
    assert max(quantity.ratios[0] for quantity in report.quantities) < 4
    assert report.probes["inputs-0.decoder_attention_mask"].sum(axis=1).tolist() == [12, 1]
    assert {quantity.name for quantity in report.quantities if quantity.probe == "inputs-0"} >= {
        "encoder.last",
        "logits",
        "loss",
    }
    assert report.texts == (("3 May 1999", "1999-05-03", "1999-05-03"),)
    assert [
        (generation.name, generation.rows, generation.forks) for generation in report.generations
    ] == [
        ("greedy", 3, ()),
        ("beam", 1, ()),
    ]


@pytest.mark.frameworks
def test_two_pytorch_directories(dates: Path, tmp_path: Path) -> None:
    """The normalized model answers as its source, bit for bit; a row of nothing but padding is left out, and said."""
    ckptconv.normalize(dates, tmp_path / "normal")
    tokens = np.arange(12).reshape(2, 6)
    np.savez(
        tmp_path / "tokens.npz",
        input_ids=tokens,
        attention_mask=[[1] * 6, [0] * 6],
        decoder_input_ids=tokens,
    )
    result = verify(dates, tmp_path / "normal", inputs=tmp_path / "tokens.npz", timeout=600)
    report = result.outputs
    assert report is not None
    assert (result.matches, report.reference is report.source) == (True, True)
    assert {
        quantity.ratios
        for quantity in report.quantities
        if quantity.own and quantity.own.rms > 1e-6
    } == {(1.0, 1.0)}
    (logits,) = (
        quantity
        for quantity in report.quantities
        if (quantity.probe, quantity.name) == ("inputs", "logits")
    )
    assert logits.target is not None
    assert logits.target.compared == 6 * 46
    empty = (
        "inputs.attention_mask: 1 rows hold nothing but padding, and are left out of the comparison"
    )
    assert empty in report.notices


@pytest.mark.frameworks
def test_a_model_that_flax_trained_and_cannot_generate_with(dates: Path, tmp_path: Path) -> None:
    """Without the rows that healing repeats, Flax's `encode` gives NaN: a known fault is named, the rest is judged."""
    ckptconv.pt2flax(dates, tmp_path / "flax", heal=False)
    ckptconv.flax2pt(tmp_path / "flax", tmp_path / "pt")
    verdict = ckptconv.verify(tmp_path / "flax", tmp_path / "pt", texts=["3 May 1999"], timeout=600)
    assert verdict.outputs is not None
    assert verdict.matches
    assert len(verdict.outputs.quantities) > 10
    assert (verdict.outputs.generations, verdict.outputs.texts) == ((), ())
    assert any("passes positions as token types" in note for note in verdict.outputs.notices)


@pytest.mark.frameworks
@pytest.mark.soak
def test_a_target_that_generates_otherwise_is_no_match(dates: Path, tmp_path: Path) -> None:
    """The same Flax model as a target, with which users would generate: its answers differ, and that counts."""
    ckptconv.pt2flax(dates, tmp_path / "flax", heal=False)
    verdict = ckptconv.verify(dates, tmp_path / "flax", timeout=600)
    assert verdict.outputs is not None
    assert not all(generation.matches for generation in verdict.outputs.generations)


def without_tokens(dates: Path, folder: Path, *files: str) -> Path:
    """Copy the trained checkpoint without the special tokens that some of its files name."""
    shutil.copytree(dates, folder)
    for name in files:
        values = json.loads((folder / name).read_text())
        named = {key: value for key, value in values.items() if not key.endswith("_token_id")}
        for side in {"encoder", "decoder"} & named.keys():
            named[side] = {
                key: None if key.endswith("_token_id") else value
                for key, value in named[side].items()
            }
        (folder / name).write_text(json.dumps(named))
    return folder


@pytest.mark.frameworks
@pytest.mark.soak
def test_texts_without_a_start_token(dates: Path, tmp_path: Path) -> None:
    """Where the generation config names no tokens, those of the other searches answer the texts too, and it is said."""
    source = without_tokens(dates, tmp_path / "source", "generation_config.json")
    ckptconv.pt2tf(source, tmp_path / "tf")
    verdict = verify(source, tmp_path / "tf", texts=["3 May 1999"], timeout=600)
    assert verdict.matches
    assert verdict.outputs is not None
    assert verdict.outputs.texts == (("3 May 1999", "1999-05-03", "1999-05-03"),)
    start = (
        "the generation config of the source and the target does not name decoder_start_token_id: 2"
    )
    assert any(notice.startswith(start) for notice in verdict.outputs.notices)


@pytest.mark.frameworks
def test_texts_of_a_model_that_names_no_token(dates: Path, tmp_path: Path) -> None:
    """A freshly joined pair names none: what the other searches choose serves texts too, and is said."""
    files = ("config.json", "generation_config.json")
    source = without_tokens(dates, tmp_path / "source", *files)
    ckptconv.normalize(source, tmp_path / "normal")
    verdict = verify(source, tmp_path / "normal", texts=["3 May 1999"], timeout=600)
    assert verdict.matches
    assert verdict.outputs is not None
    assert len(verdict.outputs.texts) == 1
    assert "no config names it, so decoder_start_token_id = 0 was used to generate" in (
        verdict.outputs.notices
    )
    assert not any("does not name decoder_start" in notice for notice in verdict.outputs.notices)
