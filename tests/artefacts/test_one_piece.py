"""Models of one piece, of images and of speech are exported and proved by the code of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckptconv.verbs.check import check
from ckptconv.verbs.export import export
from ckptconv.verbs.inspect import inspect
from ckptconv.verbs.verify import verify
from wholes import config_of, names, random_model

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

COMPOSITES = {"vision": "VisionEncoderDecoderModel", "speech": "SpeechEncoderDecoderModel"}
TOKENS = {"decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BEAMS = {"num_beams": 3, "max_length": 10, "length_penalty": 0.5, "no_repeat_ngram_size": 2}
GREEDY = {"max_length": 10, "min_length": 6}
QUICK = GREEDY | {"shallow": True}
OTHER_BEAMS = {"greedy", "own", "own beams"}
"""Searches of a format that has a `generate_beam` beside a search without beams."""


SHALLOW = {"num_layers": 1, "num_decoder_layers": 1}
"""Of the one that `make test` runs: tracing and lowering take time for each layer."""


def checkpoint(
    kind: str, family: str, folder: Path, *, shallow: bool = False, **settings: Any
) -> Path:
    """Save a random model with settings of its own for generation."""
    name = COMPOSITES.get(kind) or names(kind, family)["variants"]["plain"]["pytorch"]["class"]
    random_model(name, config_of(kind, family) | (SHALLOW if shallow else {}), folder)
    tokens = TOKENS if kind in COMPOSITES else {}
    for file in ("config.json", "generation_config.json"):
        path = folder / file
        values = json.loads(path.read_text()) | tokens
        path.write_text(json.dumps(values | (settings if "generation" in file else {})))
    return folder


def soak(*values: Any) -> Any:
    """Leave a case to `make soak`."""
    return pytest.param(*values, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    ("kind", "family", "format", "settings", "searches"),
    [
        ("seq2seq", "t5", "onnx", QUICK, {"greedy", "own"}),
        soak("seq2seq", "bart", "onnx", BEAMS, {"greedy", "own"}),
        soak("seq2seq", "marian", "onnx", GREEDY, {"greedy", "own"}),
        soak("seq2seq", "whisper", "onnx", {}, {"greedy"}),
        soak("vision", "vit", "onnx", BEAMS, {"greedy", "own"}),
        soak("speech", "wav2vec2", "onnx", BEAMS, {"greedy", "own"}),
        soak("seq2seq", "t5", "savedmodel", BEAMS, {"greedy", "own"}),
        soak("seq2seq", "whisper", "savedmodel", {}, {"greedy"}),
        soak("vision", "vit", "savedmodel", GREEDY, OTHER_BEAMS),
        soak("seq2seq", "t5", "jax", GREEDY, OTHER_BEAMS),
        soak("seq2seq", "bart", "jax", BEAMS, {"greedy", "own"}),
        soak("seq2seq", "marian", "jax", GREEDY, OTHER_BEAMS),
        soak("seq2seq", "whisper", "jax", {}, {"greedy"}),
        soak("vision", "vit", "jax", GREEDY, OTHER_BEAMS),
        soak("seq2seq", "t5", "litert", GREEDY, {"greedy", "own"}),
        soak("seq2seq", "bart", "litert", GREEDY, {"greedy", "own"}),
        soak("seq2seq", "marian", "litert", GREEDY, {"greedy", "own"}),
        soak("seq2seq", "whisper", "litert", {}, {"greedy"}),
        soak("vision", "vit", "litert", GREEDY, {"greedy", "own"}),
    ],
)
def test_the_artefact_matches(
    kind: str,
    family: str,
    format: str,
    settings: dict[str, Any],
    searches: set[str],
    tmp_path: Path,
) -> None:
    """Whisper's class generates with code of its own, which is said: its artefact has encode and step."""
    source = checkpoint(kind, family, tmp_path / "source", **settings)
    result = export(source, tmp_path / "out", format)
    assert bool(result.notices) is ("own" not in searches)
    checked = check(result.target)
    assert checked.whole
    assert checked.tensors == len(inspect(result.target).tensors)
    verdict = verify(source, result.target)
    assert verdict.matches, verdict
    assert verdict.outputs is not None
    assert {search.name for search in verdict.outputs.generations} == searches
