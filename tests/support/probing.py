"""Compositions of two small configs, without weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ckptconv.run.modalities import Probes, modality_of
from ckptconv.run.runners import RUNNERS, InputSupport
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, read_model

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


def supports(*names: str) -> list[InputSupport]:
    """Return what the models of some runners can be fed with."""
    return [RUNNERS[name].support(None) for name in names]


def probes_of(model: Model, seed: int = 0, runs: Iterable[str] = ("pytorch",)) -> Probes:
    """Return the probes that these runners can all answer."""
    return modality_of(model).make_probes(model, seed, supports(*runs))
