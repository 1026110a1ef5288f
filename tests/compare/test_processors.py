"""A processor that does not fit the model beside it is refused, from the configs alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.compare.processors import image_size, require_processor
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, read_model
from wholes import config_of


def model_of(kind: str, family: str) -> Model:
    """Return the tiny model of the fixtures."""
    return read_model(Config(config_of(kind, family)))


IMAGES, SOUND = model_of("vision", "vit"), model_of("speech", "wav2vec2")
WHISPER, SPEECH = model_of("seq2seq", "whisper"), model_of("seq2seq", "speech_to_text")
SQUARE = {"height": 15, "width": 15}


@pytest.mark.parametrize(
    ("model", "processor"),
    [
        (IMAGES, {"size": SQUARE, "image_mean": [0, 0, 0]}),
        (IMAGES, {"size": 15}),
        (IMAGES, {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": SQUARE}),
        (IMAGES, {"size": {"shortest_edge": 99}}),
        (IMAGES, {"do_resize": False, "size": 99}),
        (IMAGES, {"size": 99, "image_processor_type": "DeiTImageProcessor"}),
        (IMAGES, {"size": 99, "feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 15}),
        (IMAGES, {"size": 99, "do_center_crop": True}),
        (IMAGES, {"size": 15, "image_processor_type": ["ViTImageProcessor"]}),
        (model_of("vision", "dinov2"), {"size": 99}),
        (SOUND, {"feature_size": 1}),
        (WHISPER, {"feature_size": 11, "nb_max_frames": 34}),
        (SPEECH, {"feature_size": 11}),
        (SPEECH, {}),
    ],
)
def test_what_fits_or_does_not_say_is_taken(
    model: Model, processor: dict[str, Any], tmp_path: Path
) -> None:
    """Sizes in every form, cropped or not; a family whose class takes any size is not held to one."""
    require_processor(model, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    require_processor(model, tmp_path)


@pytest.mark.parametrize(
    ("model", "processor", "problems"),
    [
        (
            IMAGES,
            {"size": {"height": 224, "width": 196}, "image_mean": [0.5]},
            ["of 1 channels, but the encoder reads 3", "224 x 196, but the encoder reads 15 x 15"],
        ),
        (
            IMAGES,
            {"size": 15, "image_processor_type": "DeiTImageProcessorFast", "crop_size": 99},
            ["99 x 99, but the encoder reads 15 x 15"],
        ),
        (
            IMAGES,
            {"size": 99, "image_processor_type": "DeiTImageProcessor", "do_center_crop": False},
            ["99 x 99, but the encoder reads 15 x 15"],
        ),
        (SOUND, {"feature_size": 80}, ["the encoder reads samples"]),
        (
            WHISPER,
            {"feature_size": 80, "nb_max_frames": 3000},
            ["the encoder reads 11 bins", "3000 frames, but the encoder reads 34"],
        ),
        (SPEECH, {"feature_size": 80}, ["the encoder reads 11 bins"]),
    ],
)
def test_what_does_not_fit_is_refused(
    model: Model, processor: dict[str, Any], problems: list[str], tmp_path: Path
) -> None:
    """Everything that is wrong is said at once, with what the encoder reads."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(SourceError) as refusal:
        require_processor(model, tmp_path)
    assert all(problem in str(refusal.value) for problem in problems)


def test_sizes_that_are_none_leave_it_open() -> None:
    """A processor's config comes from elsewhere: what is no size is not taken for one."""
    for size in ([15, 15], "15", {"height": True, "width": True}, None):
        assert image_size({"size": size}) is None
