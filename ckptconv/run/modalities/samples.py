"""Sound as it is: `input_values`, of which convolutions make frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.run.modalities._audio import extracted
from ckptconv.run.modalities._media import MASK, Media, frame_mask, length_before
from ckptconv.run.runners import Array, Batch
from ckptconv.run.token_ids import LEFT, RIGHT, padding_mask
from ckptconv.schema.model import Model

FRAMES = 41
"""Frames of a row."""


class Samples(Media):
    """Samples and their mask; a place of a state is a frame."""

    name = "samples"
    reads = "samples"
    inputs: Mapping[str, str] = {"input_values": "float32", MASK: "int64"}
    item = "audio"

    def draw(self, model: Model, rng: np.random.Generator, probe: str) -> dict[str, Array]:
        """Return noise; in `right` two rows end early, and in `left` one is silent from its middle on."""
        length = length_before(FRAMES, _steps(model)[0])
        mask = padding_mask(probe if probe == RIGHT else "full", length, left=False)
        samples = rng.standard_normal(mask.shape) * mask
        if probe == LEFT:
            samples[1, length // 2 :] = 0
        return {self.main: samples.astype(np.float32), MASK: mask}

    def place_count(self, model: Model) -> int:
        """Return the number of frames."""
        return FRAMES

    def place_facts(self, model: Model) -> dict[str, Json]:
        """Return the convolutions of the feature extractor, and of the adapter behind the layers."""
        before, after = _steps(model)
        steps: list[Json] = [list(step) for step in (*before, *after)]
        return {"steps": steps, "first": len(before)}

    def array_problem(self, array: Array, model: Model) -> str:
        """Say what the shape must be."""
        before, after = _steps(model)
        least = length_before(1, (*before, *after))
        fits = array.ndim == 2 and array.shape[1] >= least
        return "" if fits else f"expected (rows, samples), at least {least} samples"

    def encoder_mask(
        self, batch: Batch, facts: Mapping[str, Any], places: int | None = None
    ) -> Array:
        """Return which frames are made of samples that count."""
        mask = batch[MASK]
        return frame_mask(mask.sum(axis=1), mask.shape[1], facts, places)

    def processed(
        self, checkpoint: Path, paths: Sequence[Path], facts: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the samples of files. Raises: SourceError: one that makes no frame."""
        features = extracted(checkpoint, list(paths))
        values = np.asarray(features[self.main], np.float32)
        mask = np.asarray(features[MASK], np.int64)
        least = length_before(1, facts["steps"])
        for path, count in zip(paths, mask.sum(axis=1).tolist(), strict=True):
            if count < least:
                raise SourceError(
                    f"{path}: {count} samples, of which the encoder makes no frame: it needs {least} or more"
                )
        return {self.main: values, MASK: mask}


def _steps(model: Model) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Return (kernel, stride) of the convolutions before the first states, and of those after the last layer.

    An adapter's count as one of kernel 1: they pad their input.
    """
    config = model.encoder.config
    before = tuple(zip(config.sizes("conv_kernel"), config.sizes("conv_stride"), strict=False))
    if not config.flag("add_adapter"):
        return before, ()
    return before, ((1, config.size("adapter_stride")),) * config.size("num_adapter_layers")


MODALITY = Samples()
