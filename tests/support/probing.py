"""Compositions of two small configs, without weights."""

from __future__ import annotations

from typing import Any

from ckptconv.schema.config import Config
from ckptconv.schema.model import Model
from ckptconv.schema.models import read_model

CROSS = {"is_decoder": True, "add_cross_attention": True}


def pair(encoder: dict[str, Any], decoder: dict[str, Any], **whole: Any) -> Model:
    """Return the composition of two configs, by default bert -> bert with small vocabularies."""
    return read_model(
        Config(
            {
                "model_type": "encoder-decoder",
                "encoder": {"model_type": "bert", "vocab_size": 31} | encoder,
                "decoder": {"model_type": "bert", "vocab_size": 29} | CROSS | decoder,
            }
            | whole
        )
    )
