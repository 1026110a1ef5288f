"""Does the processor beside a model make what its encoder reads? From the two configs alone; nothing is run.

What the class could not read, or could not be meant, is refused. What no key of a model's config says, such as the
rate of its samples, is a remark.

Source: transformers 4.57.6, the image processors and feature extractors of the families that there are tables for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from ckptconv.base.errors import SourceError
from ckptconv.base.presence import lies_at
from ckptconv.base.strict_json import Json, in_words, read_json
from ckptconv.schema.config import Config
from ckptconv.schema.family import Encoder
from ckptconv.schema.model import Model

PROCESSOR = "preprocessor_config.json"
COMBINED = "processor_config.json"
SECTIONS = ("image_processor", "feature_extractor")
"""Of a combined processor's file, where transformers 5 keeps what was a file of its own."""
OF_SOUND = ("sampling_rate",)
OF_IMAGES = ("image_processor_type", "image_mean", "do_rescale", "crop_size")
"""Keys that processors of one kind alone have."""
READS = {"pixels": "images", "samples": "sound", "features": "sound"}
RATE = 16000
"""Samples a second, of the processors of every family of speech as transformers makes them."""
CROPPING = ("Beit", "Bit", "CLIP", "ChineseCLIP", "DeiT")
"""Image processors of families that there are tables for, whose classes crop unless the file says otherwise."""
CLASS_ENDINGS = ("FeatureExtractor", "ImageProcessor", "ImageProcessorFast")
TYPE_KEYS = ("image_processor_type", "feature_extractor_type")
IDLE = ("processor_class", "_processor_class", "transformers_version", "auto_map")
"""Keys that change nothing of what a processor makes."""


def require_processor(model: Model, folder: Path) -> None:
    """Refuse a processor whose output a model's class cannot read. Raises SourceError: with everything that is wrong.

    One that is not there, or does not say, is no fault; nor is any beside a model of text.
    """
    if model.reads == "tokens":
        return
    for path, processor in _processors(folder):
        problems = list(_problems(model, processor))
        if problems:
            raise SourceError(
                "\n  ".join(
                    [f"{path}: this processor does not fit the model beside it:", *problems]
                )
            )


def processor_notices(model: Model, folder: Path) -> Iterator[str]:
    """Say of a processor what nothing in the model's config can confirm. Raises SourceError: it is malformed."""
    if READS.get(model.reads) != "sound":
        return
    for path, processor in _processors(folder):
        rate = processor.get("sampling_rate", RATE)
        if rate != RATE:
            yield (
                f"{path.name}: {in_words(rate)} samples a second; no key of a model's config says which rate it"
                f" was trained with, and the usual one is {RATE}"
            )


def differing_processors(first: Path, second: Path, names: tuple[str, str]) -> Iterator[str]:
    """Say in which keys two processors differ, or which side has none; nothing where they make the same.

    Args: names: what to call the two checkpoints, such as "the source" and "the target".
    Raises: SourceError: a file is malformed.
    """
    left, right = (
        {path.name: values for path, values in _files(folder)} for folder in (first, second)
    )
    for file in sorted(left.keys() | right.keys()):
        if file not in left or file not in right:
            yield f"only {names[file in right]} has {file}"
            continue
        keys = [
            key
            for key in sorted(left[file].keys() | right[file].keys())
            if key not in IDLE and left[file].get(key) != right[file].get(key)
        ]
        if keys:
            yield f"the processors differ: {file}: {', '.join(keys)}"


def _files(folder: Path) -> Iterator[tuple[Path, Mapping[str, Json]]]:
    for name in (PROCESSOR, COMBINED):
        if lies_at(folder / name):
            yield folder / name, read_json(folder / name)


def _processors(folder: Path) -> Iterator[tuple[Path, Mapping[str, Json]]]:
    """Return every processor of images or sound in a folder, each with the file that says it."""
    for path, values in _files(folder):
        if path.name == PROCESSOR:
            yield path, values
        sections = (values.get(name) for name in SECTIONS)
        yield from ((path, section) for section in sections if isinstance(section, dict))


def _problems(model: Model, processor: Mapping[str, Json]) -> Iterator[str]:
    kinds = {"sound": OF_SOUND, "images": OF_IMAGES}
    reads = READS[model.reads]
    strange = [
        (kind, key)
        for kind, keys in kinds.items()
        for key in keys
        if kind != reads and key in processor
    ]
    if strange and not any(key in processor for key in kinds[reads]):
        kind, key = strange[0]
        yield f"{key!r} is of a processor of {kind}, but the encoder reads {reads}"
    elif model.reads == "pixels":
        yield from _of_images(model, processor)
    else:
        yield from _of_sound(model, processor)


def _of_images(model: Model, processor: Mapping[str, Json]) -> Iterator[str]:
    config, tables = model.encoder.config, model.encoder.tables
    channels = config.size("num_channels")
    for key in ("image_mean", "image_std") if processor.get("do_normalize", True) else ():
        values = processor.get(key)
        if isinstance(values, list) and len(values) != channels:
            yield f"{key!r} is of {len(values)} channels, but the encoder reads {channels}"
    if processor.get("do_convert_rgb") is True and channels != 3:
        yield f"'do_convert_rgb' makes 3 channels, but the encoder reads {channels}"
    size, expected = image_size(processor), config.extent("image_size")
    fixed = isinstance(tables, Encoder) and tables.one_size
    if fixed and size is not None and size != expected:
        yield "images of {} x {}, but the encoder reads {} x {}".format(*size, *expected)


def image_size(processor: Mapping[str, Json]) -> tuple[int, int] | None:
    """Return height and width of what an image processor makes; None where its config leaves them open."""
    if processor.get("do_center_crop", _crops_by_default(processor)):
        size = processor.get("crop_size")  # where it is left out, the class has a size of its own
    elif processor.get("do_resize", True):
        size = processor.get("size")
    else:
        return None
    if isinstance(size, dict):
        high, wide = size.get("height"), size.get("width")
    else:
        high = wide = size
    sides = [side for side in (high, wide) if _is_count(side)]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def _crops_by_default(processor: Mapping[str, Json]) -> bool:
    """Tell whether a processor's class crops where its file does not say."""
    cropping = [name + ending for name in CROPPING for ending in CLASS_ENDINGS]
    return any(processor.get(key) in cropping for key in TYPE_KEYS)


def _is_count(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _of_sound(model: Model, processor: Mapping[str, Json]) -> Iterator[str]:
    rate = processor.get("sampling_rate", RATE)
    if not _is_count(rate) or rate < 1:
        yield f"'sampling_rate' is {in_words(rate)}, which is no number of samples a second"
    elif model.reads == "features":
        yield from _of_features(model.encoder.config, processor, rate)
    if model.reads == "samples" and processor.get("feature_size", 1) != 1:
        width = in_words(processor["feature_size"])
        yield f"'feature_size' is {width}, but the encoder reads samples, one at a time"


def _of_features(config: Config, processor: Mapping[str, Json], rate: int) -> Iterator[str]:
    whisper = config.get("num_mel_bins") is not None
    bins = config.size("num_mel_bins" if whisper else "input_feat_per_channel")
    for key in ("feature_size", "num_mel_bins"):
        made = processor.get(key)
        if _is_count(made) and made != bins:
            yield f"{key!r} is {made}, but the encoder reads {bins} bins a frame"
    frames, places = _frames(processor, rate), config.size("max_source_positions")
    if whisper and frames is not None and frames != 2 * places:
        yield f"{frames} frames, but the encoder reads {2 * places}"


def _frames(processor: Mapping[str, Json], rate: int) -> int | None:
    """Return how many frames Whisper's extractor makes: by its own count, whatever the file says beside it."""
    seconds, hop = processor.get("chunk_length"), processor.get("hop_length", 160)
    if _is_count(seconds) and _is_count(hop) and hop > 0:
        return seconds * rate // hop
    stated = processor.get("nb_max_frames")
    return stated if _is_count(stated) else None
