"""What configs of old versions of transformers do not say, and the weights show.

Before 3.1 a pair's `model_type` was `encoder_decoder`, and no key said that a decoder reads an encoder: every decoder
with `is_decoder` had a cross-attention (configuration_encoder_decoder.py, configuration_utils.py of 2.11 and 3.1).
transformers 4.57.6 takes the first with a warning; with the second it drops the cross-attention and fails when it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ckptconv.base.errors import SourceError
from ckptconv.schema.config import Config
from ckptconv.schema.models import models, read_model
from ckptconv.schema.vocabulary import NamingName

FORMER_TYPES = {"encoder_decoder": "encoder-decoder"}
READS = ("is_decoder", "add_cross_attention")
"""Keys without which a decoder reads no encoder."""


def as_today(config: Config, naming: NamingName, names: Collection[str]) -> Config:
    """Return a config that says what one of today would say of the same weights; the same object where it does."""
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in FORMER_TYPES:
        config = replace(config, values={**config.values, "model_type": FORMER_TYPES[model_type]})
    decoder = config.get("decoder")
    if config.get("model_type") not in [*models()] or not isinstance(decoder, dict):
        return config
    unsaid = [key for key in READS if decoder.get(key) is None]
    if not unsaid:
        return config
    reading = replace(
        config, values={**config.values, "decoder": {**decoder, **dict.fromkeys(unsaid, True)}}
    )
    return reading if _has_cross_attention(reading, naming, names) else config


def _has_cross_attention(config: Config, naming: NamingName, names: Collection[str]) -> bool:
    """Tell whether one of the names is that of a cross-attention's tensor, whatever stands before it."""
    try:
        tensors = read_model(config).tensors
    except SourceError:  # which whoever reads the config says
        return False
    cross = tuple(
        name
        for tensor in tensors
        if tensor.module.part == "cross-attention" and not tensor.is_buffer
        for name in tensor.names_in(naming)
    )
    return any(name.endswith(cross) for name in names)


def unsaid_keys(before: Config, after: Config) -> Iterator[str]:
    """Return the keys of the decoder that `as_today` set and transformers 4.57.6 needs."""
    first, second = before.get("decoder"), after.get("decoder")
    if isinstance(first, dict) and isinstance(second, dict):
        yield from (f"decoder.{key}" for key in READS if first.get(key) != second.get(key))
