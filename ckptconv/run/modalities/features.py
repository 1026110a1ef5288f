"""Sound as a spectrogram: `input_features`. Whisper's has one length and no mask, Speech2Text's any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.modalities._audio import extracted
from ckptconv.run.modalities._media import MASK, Media, frame_mask, lengths_through
from ckptconv.run.runners import Array, Batch
from ckptconv.run.token_ids import LEFT, RIGHT, ROWS, padding_mask
from ckptconv.schema.model import Model

FRAMES = 83
"""Frames of a row, where a class takes any number."""
HALVING = (1, 2)
"""A convolution that pads its input and skips every other place, as (kernel, stride)."""


class Features(Media):
    """A spectrogram, of which convolutions leave a part of the frames as places."""

    name = "features"
    reads = "features"
    inputs: Mapping[str, str] = {"input_features": "float32", MASK: "int64"}
    item = "audio"

    def has_mask(self, model: Model) -> bool:
        """Tell whether a class takes a mask: Whisper's does not, since silence fills its one length."""
        return _fixed_frames(model) is None

    def draw(self, model: Model, rng: np.random.Generator, probe: str) -> dict[str, Array]:
        """Return noise; in `right` two rows end early, and in `left` one is silent from its middle on."""
        bins, fixed = _bins(model), _fixed_frames(model)
        length = self._frames(model)
        features = rng.standard_normal((ROWS, length, bins))
        mask = padding_mask(probe if probe == RIGHT else "full", length, left=False)
        if fixed is None:
            features *= mask[..., None]
        if probe == LEFT:
            features[1, length // 2 :] = 0
        if fixed is not None:
            return {self.main: features.transpose(0, 2, 1).astype(np.float32)}
        return {self.main: features.astype(np.float32), MASK: mask}

    def _frames(self, model: Model) -> int:
        """Return the frames of a row: those that a class takes, or what the positions allow."""
        fixed = _fixed_frames(model)
        if fixed is not None:
            return fixed
        config = model.encoder.config
        longest = config.size("max_source_positions") << config.size("num_conv_layers")
        return max(1, min(FRAMES, longest))

    def place_count(self, model: Model) -> int:
        """Return the number of states."""
        steps = [HALVING] * _halvings(model)
        return int(lengths_through(np.array(self._frames(model)), steps))

    def place_facts(self, model: Model) -> dict[str, Json]:
        """Return the convolutions before the first states."""
        steps: list[Json] = [list(HALVING) for _ in range(_halvings(model))]
        return {"steps": steps, "first": len(steps), "mask": self.has_mask(model)}

    def array_problem(self, array: Array, model: Model) -> str:
        """Say what the shape must be."""
        bins, fixed = _bins(model), _fixed_frames(model)
        if fixed is not None:
            fits = array.ndim == 3 and array.shape[1:] == (bins, fixed)
            return "" if fits else f"expected (rows, {bins}, {fixed})"
        fits = array.ndim == 3 and array.shape[2] == bins
        return "" if fits else f"expected (rows, frames, {bins})"

    def encoder_mask(
        self, batch: Batch, facts: Mapping[str, Any], places: int | None = None
    ) -> Array:
        """Return which states are made of frames that count; without a mask all are."""
        features = batch[self.main]
        if MASK not in batch:
            lengths = np.full(len(features), features.shape[2])
            return frame_mask(lengths, features.shape[2], facts, places)
        return frame_mask(batch[MASK].sum(axis=1), batch[MASK].shape[1], facts, places)

    def processed(
        self, checkpoint: Path, paths: Sequence[Path], facts: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the spectrograms of files."""
        features = extracted(checkpoint, list(paths))
        batch = {self.main: np.asarray(features[self.main], np.float32)}
        if facts.get("mask"):
            batch[MASK] = np.asarray(features[MASK], np.int64)
        return batch


def _bins(model: Model) -> int:
    """Return the bins of a frame."""
    config = model.encoder.config
    if config.get("num_mel_bins") is not None:
        return config.size("num_mel_bins")
    return config.size("input_feat_per_channel") * config.size("input_channels")


def _fixed_frames(model: Model) -> int | None:
    """Return the one number of frames that a class takes; None: any. Whisper's second convolution halves them."""
    config = model.encoder.config
    whisper = config.get("num_mel_bins") is not None
    return 2 * config.size("max_source_positions") if whisper else None


def _halvings(model: Model) -> int:
    """Return how many convolutions skip every other frame."""
    return 1 if _fixed_frames(model) is not None else model.encoder.config.size("num_conv_layers")


MODALITY = Features()
