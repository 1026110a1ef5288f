"""Files of sound, read without a library: PCM of 16 bits in WAVE."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.run.modalities._media import own_processor
from ckptconv.run.runners import Array

PIPED_SAMPLES = 1 << 29
"""So many and more are announced by a program that wrote into a pipe, and could not know."""


def read_wave(path: Path) -> tuple[Array, int]:
    """Return samples between -1 and 1, and how many there are a second.

    Raises: SourceError: not a WAVE file of one channel with 16 bits a sample, or one that is cut short.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            count = file.getnframes()
            data = file.readframes(count)
    except (wave.Error, EOFError, OSError) as error:
        raise SourceError(f"{path}: not a WAVE file ({error})") from None
    if (channels, width) != (1, 2):
        raise SourceError(
            f"{path}: expected one channel of 16 bits, found {channels} of {8 * width}"
        )
    if not data:
        raise SourceError(f"{path}: a WAVE file without a sample")
    if len(data) % width or (len(data) < width * count and count < PIPED_SAMPLES):
        raise SourceError(
            f"{path}: is cut short: {count} samples are announced, {len(data) // width} are whole"
        )
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate


def extracted(checkpoint: Path, paths: list[Path]) -> Any:
    """Return what the checkpoint's feature extractor makes of files; in the child.

    Raises: SourceError: a file that cannot be read, or with another rate than the extractor takes.
    """
    extractor = own_processor(checkpoint, "AutoFeatureExtractor", "feature extractor")
    sounds = []
    for path in paths:
        samples, rate = read_wave(path)
        if rate != extractor.sampling_rate:
            raise SourceError(
                f"{path}: {rate} samples a second; the checkpoint's processor takes {extractor.sampling_rate}"
            )
        sounds.append(samples)
    return extractor(
        sounds,
        sampling_rate=extractor.sampling_rate,
        padding=True if not hasattr(extractor, "n_samples") else "max_length",
        return_attention_mask=True,
        return_tensors="np",
    )
