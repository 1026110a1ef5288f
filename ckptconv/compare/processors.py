"""Does the processor beside a model make what its encoder reads? From the two configs alone; nothing is run.

Source: transformers 4.57.6, the image processors and feature extractors of the families that there are tables for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, read_json
from ckptconv.schema.config import Config
from ckptconv.schema.family import Encoder
from ckptconv.schema.model import Model

PROCESSOR = "preprocessor_config.json"


def require_processor(model: Model, folder: Path) -> None:
    """Refuse a processor whose output a model's class cannot read. Raises SourceError: with everything that is wrong.

    One that is not there, or does not say, is no fault.
    """
    path = folder / PROCESSOR
    if not os.path.lexists(path):
        return
    problems = list(_problems(model, read_json(path)))
    if problems:
        raise SourceError(
            "\n  ".join([f"{path}: this processor does not fit the model beside it:", *problems])
        )


def _problems(model: Model, processor: Mapping[str, Json]) -> Iterator[str]:
    config = model.encoder.config
    if model.reads == "pixels":
        yield from _of_images(model, processor)
    elif model.reads == "samples":
        if processor.get("feature_size", 1) != 1:
            yield f"'feature_size' is {processor['feature_size']!a}, but the encoder reads samples, one at a time"
    else:
        yield from _of_features(config, processor)


def _of_images(model: Model, processor: Mapping[str, Json]) -> Iterator[str]:
    config, tables = model.encoder.config, model.encoder.tables
    mean, channels = processor.get("image_mean"), config.size("num_channels")
    if isinstance(mean, list) and processor.get("do_normalize", True) and len(mean) != channels:
        yield f"'image_mean' is of {len(mean)} channels, but the encoder reads {channels}"
    size, expected = image_size(processor), config.extent("image_size")
    fixed = isinstance(tables, Encoder) and tables.one_size
    if fixed and size is not None and size != expected:
        yield "images of {} x {}, but the encoder reads {} x {}".format(*size, *expected)


def image_size(processor: Mapping[str, Json]) -> tuple[int, int] | None:
    """Return height and width of what an image processor makes; None where its config leaves them open."""
    if processor.get("do_center_crop"):
        size = processor.get("crop_size", processor.get("size"))
    elif processor.get("do_resize", True):
        size = processor.get("size")
    else:
        return None
    if isinstance(size, dict):
        high, wide = size.get("height"), size.get("width")
    else:
        high = wide = size
    sides = [side for side in (high, wide) if isinstance(side, int) and not isinstance(side, bool)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def _of_features(config: Config, processor: Mapping[str, Json]) -> Iterator[str]:
    whisper = config.get("num_mel_bins") is not None
    bins = config.size("num_mel_bins" if whisper else "input_feat_per_channel")
    made = processor.get("feature_size")
    if isinstance(made, int) and made != bins:
        yield f"'feature_size' is {made}, but the encoder reads {bins} bins a frame"
    frames, places = processor.get("nb_max_frames"), config.size("max_source_positions")
    if whisper and isinstance(frames, int) and frames != 2 * places:
        yield f"{frames} frames, but the encoder reads {2 * places}"
