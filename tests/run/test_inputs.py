"""`inputs`: the user's own, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ckptconv.base.errors import SourceError
from ckptconv.run.children import Answer
from ckptconv.run.inputs import Inputs, encoded_differently, read_inputs
from ckptconv.run.modalities import Example
from probing import pair

PAIR = pair({"max_position_embeddings": 9}, {"pad_token_id": 6}, decoder_start_token_id=2)
IDS = np.array([[4, 5, 6], [7, 8, 0]])


def saved(folder: Path, **arrays: Any) -> Path:
    """Save tokens as numpy does."""
    np.savez(folder / "inputs.npz", allow_pickle=True, **arrays)
    return folder / "inputs.npz"


def test_sentences(tmp_path: Path) -> None:
    """One object a line; the target is optional, and empty lines are passed over."""
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"text": "one", "target": "1"}\n\n{"text": "zw\\u00f6lf"}\n')
    assert read_inputs(path, PAIR) == Inputs(examples=(Example("one", "1"), Example("zwölf")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "contains no example"),
        ('{"text": 3}', "line 1: expected {"),
        ('{"text": "a"}\n{"text": "b", "label": "c"}', "line 2: expected {"),
        ('{"text": "a", "text": "b"}', "line 1: not valid JSON"),
        ("one", "line 1: not valid JSON"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """Anything else is refused with its line."""
    path = tmp_path / "inputs.jsonl"
    path.write_text(text)
    with pytest.raises(SourceError) as refusal:
        read_inputs(path, PAIR)
    assert said in str(refusal.value)


def test_tokens_alone_get_what_they_lack(tmp_path: Path) -> None:
    """Without masks every token is valid, and the decoder gets its start token, which has no label."""
    probes = read_inputs(saved(tmp_path, input_ids=IDS.astype(np.int32)), PAIR).probes
    assert {name: array.tolist() for name, array in probes.items()} == {
        "inputs.input_ids": IDS.tolist(),
        "inputs.attention_mask": [[1, 1, 1], [1, 1, 1]],
        "inputs.decoder_input_ids": [[2], [2]],
        "inputs.decoder_attention_mask": [[1], [1]],
    }
    assert {array.dtype for array in probes.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_tokens_of_both_sides(tmp_path: Path, form: str) -> None:
    """What is given is taken, in either format; labels follow from the decoder's tokens and mask."""
    mask = np.array([[1, 1, 1], [1, 1, 0]])
    arrays = {
        "input_ids": IDS,
        "attention_mask": mask,
        "decoder_input_ids": IDS + 1,
        "decoder_attention_mask": mask,
    }
    path = saved(tmp_path, **arrays) if form == "npz" else tmp_path / "inputs.safetensors"
    if form == "safetensors":
        save_file(arrays, path)
    probes = read_inputs(path, PAIR).probes
    assert all(np.array_equal(probes[f"inputs.{name}"], array) for name, array in arrays.items())
    assert probes["inputs.labels"].tolist() == [[6, 7, -100], [9, -100, -100]]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"ids": IDS}, ["no input_ids; there is 'ids'"]),
        ({"input_ids": IDS, "ids": IDS}, ["'ids' is none of input_ids, attention_mask"]),
        (
            {"input_ids": IDS / 2},
            ["input_ids: expected integers of shape (rows, length), found float64 [2, 3]"],
        ),
        (
            {"input_ids": IDS[0]},
            ["input_ids: expected integers of shape (rows, length), found int64 [3]"],
        ),
        ({"input_ids": IDS + 23}, ["input_ids: from 23 to 31, but the vocabulary has 31 tokens"]),
        (
            {"input_ids": np.ones((1, 10), int)},
            ["input_ids: 10 tokens a row, but there are 9 positions"],
        ),
        (
            {"input_ids": IDS, "attention_mask": IDS, "decoder_input_ids": IDS[:1]},
            [
                "attention_mask: expected 1 for a token and 0 for padding",
                "decoder_input_ids: 1 rows, input_ids has 2",
            ],
        ),
        (
            {"input_ids": IDS, "attention_mask": np.ones((2, 4), int)},
            ["attention_mask: shape [2, 4], input_ids has [2, 3]"],
        ),
    ],
)
def test_tokens_that_cannot_be(tmp_path: Path, arrays: dict[str, Any], said: list[str]) -> None:
    """Every fault is said, all of them at once."""
    path = saved(tmp_path, **arrays)
    with pytest.raises(SourceError) as refusal:
        read_inputs(path, PAIR)
    first, *lines = str(refusal.value).split("\n  ")
    assert first == f"{path}: these inputs cannot be used:"
    assert [line[: len(words)] for line, words in zip(lines, said, strict=True)] == said


def test_pickles_and_strangers_are_refused(tmp_path: Path) -> None:
    """Nothing is unpickled, a broken file is no crash, and what ends in another way is no input."""
    hidden = np.array([[{"a": 1}]], dtype=object)
    with pytest.raises(SourceError, match="not arrays of numbers"):
        read_inputs(saved(tmp_path, input_ids=hidden), PAIR)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(SourceError, match=r"broken\.npz: malformed \(BadZipFile\)"):
        read_inputs(tmp_path / "broken.npz", PAIR)
    (tmp_path / "inputs.json").write_text(json.dumps({"input_ids": [[1]]}))
    with pytest.raises(SourceError, match=r"inputs are \.jsonl, \.npz or \.safetensors"):
        read_inputs(tmp_path / "inputs.json", PAIR)
    with pytest.raises(SourceError, match="no such file"):
        read_inputs(tmp_path / "inputs.npz.gz", PAIR)
    with pytest.raises(SourceError, match="is a directory, not a file"):
        read_inputs(tmp_path, PAIR)
    save_file({"input_ids": np.ones((1, 2), np.float32)}, tmp_path / "floats.safetensors")
    with pytest.raises(SourceError, match="input_ids: expected integers, found float32"):
        read_inputs(tmp_path / "floats.safetensors", PAIR)


def test_one_processor_may_round_in_two_ways() -> None:
    """Floats agree but for rounding, since a processor computes with what is installed; tokens agree exactly."""
    floats = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    tokens = np.arange(6).reshape(2, 3)

    def answer(**arrays: Any) -> Answer:
        named = {f"inputs/inputs-0.{name}": array for name, array in arrays.items()}
        return Answer("pytorch", named, (), {}, {}, {}, (), (), 0.0)

    first = answer(features=floats, ids=tokens)
    for changes, names in (
        ({}, []),
        ({"features": floats * np.float32(1 + 3e-7)}, []),
        ({"features": floats + np.float32(0.02)}, ["features"]),
        ({"features": floats[:, :4]}, ["features"]),
        ({"features": floats * np.nan}, ["features"]),
        ({"ids": tokens + 1}, ["ids"]),
    ):
        again = answer(**({"features": floats, "ids": tokens} | changes))
        expected = [f"inputs-0.{name}" for name in names]
        assert encoded_differently([first, again, first]) == expected
    assert encoded_differently([first, answer(ids=tokens)]) == ["inputs-0.features"]
    silence, sound = answer(samples=floats * 0), answer(samples=floats * np.float32(1e-6))
    assert encoded_differently([silence, silence]) == []
    assert encoded_differently([silence, sound]) == ["inputs-0.samples"]
