"""Inputs to trace a class with: tokens, pixels, or features, of the sizes that its config names. Imports torch."""

from __future__ import annotations

from typing import Any

import torch

from ckptconv.artefacts.tracing.modules import main_input

BATCH, LENGTH = 3, 7
"""No two sizes are equal, none is 0 or 1: those would be taken for fixed."""
SAMPLES = 4000
"""Of a waveform, at least; a convolution needs some hundred."""
FRAMES = 50
"""Of features whose number is free."""


def examples_of(model: Any) -> dict[str, torch.Tensor]:
    """Return a batch of the class's main input, and a mask where it takes one."""
    config = getattr(model.config, "encoder", None) or model.config
    name = main_input(model)
    if name == "pixel_values":
        return {name: _noise(BATCH, getattr(config, "num_channels", 3), *_image_size(config))}
    if name == "input_features" and hasattr(config, "num_mel_bins"):
        return {name: _noise(BATCH, config.num_mel_bins, 2 * config.max_source_positions)}
    if name == "input_features":
        features = _noise(BATCH, FRAMES, config.input_feat_per_channel)
        return {name: features, "attention_mask": _padded_mask(FRAMES)}
    if name == "input_values":
        return {name: _noise(BATCH, SAMPLES), "attention_mask": _padded_mask(SAMPLES)}
    return example_text(config.vocab_size)


def example_text(vocabulary: int) -> dict[str, torch.Tensor]:
    """Return tokens and a mask; one row is padded, since classes look whether any is."""
    ids = torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH) % max(1, vocabulary - 1) + 1
    return {"input_ids": ids.clamp(max=vocabulary - 1), "attention_mask": _padded_mask(LENGTH)}


def _padded_mask(length: int) -> torch.Tensor:
    """Return a mask with one row that is padded."""
    mask = torch.ones(BATCH, length, dtype=torch.long)
    mask[1, length // 2 :] = 0
    return mask


def _image_size(config: Any) -> tuple[int, int]:
    size = config.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _noise(*sizes: int) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(0))
