"""`settings`: which keys of two checkpoints' configs differ and matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ckptconv
from ckptconv.compare.configs import differing_settings
from ckptconv.stores.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from conftest import Pair

GENERATION = "generation_config.json"


@pytest.fixture
def both(pair: Pair, tmp_path: Path) -> tuple[Path, Path]:
    """Return a source with settings for generation, and a Flax checkpoint, healed and with what its class needs."""
    pair.config |= {"decoder_start_token_id": 3, "eos_token_id": 2, "pad_token_id": 1}
    pair.files[GENERATION] = json.dumps(
        {"decoder_start_token_id": 3, "eos_token_id": 2, "num_beams": 4}
    )
    source = pair.write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax")
    return source, tmp_path / "flax"


def change(path: Path, *levels: str, **values: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    config = json.loads(path.read_text())
    part = config
    for level in levels:
        part = part[level]
    part.update(values)
    for key in [key for key, value in part.items() if value is None]:
        del part[key]
    path.write_text(json.dumps(config))


def keys(both: tuple[Path, Path]) -> list[tuple[str, Any, Any]]:
    """Return the differences."""
    differences = differing_settings(*(open_checkpoint(path) for path in both))
    return [(item.key, item.first, item.second) for item in differences]


def test_a_conversion_differs_in_nothing(both: tuple[Path, Path]) -> None:
    """What a conversion heals, adds and records is no difference."""
    assert "ckptconv" in json.loads((both[1] / "config.json").read_text())
    assert keys(both) == []


def test_what_changes_an_answer(both: tuple[Path, Path]) -> None:
    """Keys of either side and of the whole; an absent one has the family's default."""
    change(both[1] / "config.json", "encoder", hidden_act="relu", num_attention_heads=12)
    change(both[1] / "config.json", "decoder", layer_norm_eps=1e-3, hidden_dropout_prob=0.5)
    change(both[1] / "config.json", decoder_start_token_id=2, torch_dtype="float16")
    change(both[1] / GENERATION, decoder_start_token_id=2)
    assert keys(both) == [
        ("decoder.layer_norm_eps", 1e-12, 1e-3),
        ("decoder_start_token_id", 3, 2),
        ("encoder.hidden_act", "gelu", "relu"),
    ]


def test_generation_goes_by_its_own_file(both: tuple[Path, Path]) -> None:
    """The file's keys count, with their defaults; who wrote it does not."""
    change(
        both[1] / GENERATION,
        num_beams=None,
        eos_token_id=5,
        transformers_version="5",
        bos_token_id=9,
    )
    assert keys(both) == [
        ("generation_config.eos_token_id", 2, 5),
        ("generation_config.num_beams", 4, 1),
    ]


def test_without_the_file_the_configs_count(both: tuple[Path, Path]) -> None:
    """The whole's keys, then the decoder's, as transformers makes settings of them."""
    (both[1] / GENERATION).unlink()
    change(both[1] / "config.json", eos_token_id=None)
    change(both[1] / "config.json", "decoder", eos_token_id=7)
    assert keys(both) == [
        ("decoder.eos_token_id", None, 7),
        ("eos_token_id", 2, None),
        ("generation_config.num_beams", 4, 1),
        ("generation_config.pad_token_id", None, 1),
    ]


def test_a_token_that_one_file_alone_names(both: tuple[Path, Path]) -> None:
    """The source's file says nothing of padding, so its end (2) pads; without a file the target takes the config's."""
    (both[1] / GENERATION).unlink()
    change(both[0] / GENERATION, num_beams=None)
    assert keys(both) == [("generation_config.pad_token_id", None, 1)]
    change(both[1] / "config.json", pad_token_id=2)
    change(both[0] / "config.json", pad_token_id=2)
    assert keys(both) == []


def test_what_only_the_targets_file_says(both: tuple[Path, Path]) -> None:
    """A source without a file has the defaults, and whatever the target's file adds to them counts."""
    for folder in both:
        (folder / GENERATION).unlink()
    assert keys(both) == []
    added = {"decoder_start_token_id": 3, "eos_token_id": 2, "pad_token_id": 1}
    (both[1] / GENERATION).write_text(json.dumps(added | {"sequence_bias": [[[4], 9.0]]}))
    assert keys(both) == [("generation_config.sequence_bias", None, [[[4], 9.0]])]
    (both[1] / GENERATION).write_text(json.dumps(added | {"forced_bos_token_id": 0}))
    assert keys(both) == [("generation_config.forced_bos_token_id", None, 0)]


def test_a_file_made_of_a_config_gives_way_to_it(both: tuple[Path, Path]) -> None:
    """Where `_from_model_config` stands and the config has settings of its own, these count, as in transformers."""
    change(both[1] / "config.json", num_beams=3)
    assert keys(both) == []  # the file counts
    change(both[1] / GENERATION, _from_model_config=True)
    assert keys(both) == [
        ("generation_config.num_beams", 4, 3),
        ("generation_config.pad_token_id", None, 1),
    ]


def test_ties_and_pruned_heads_count(both: tuple[Path, Path]) -> None:
    """They change which numbers a model has, so equal weights are not enough; their defaults are no difference."""
    change(both[1] / "config.json", tie_encoder_decoder=True, tie_word_embeddings=False)
    change(both[1] / "config.json", "encoder", pruned_heads={"0": [1]})
    assert keys(both) == [
        ("encoder.pruned_heads.0", None, [1]),
        ("tie_encoder_decoder", None, True),
        ("tie_word_embeddings", True, False),
    ]
    change(both[1] / "config.json", tie_encoder_decoder=False, tie_word_embeddings=True)
    change(both[1] / "config.json", "encoder", pruned_heads={})
    assert keys(both) == []
