"""One file = one kind of model: which parts a config names, and how they join. The folder is the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ckptconv.base.discovery import discover
from ckptconv.base.errors import SourceError
from ckptconv.schema.config import Config
from ckptconv.schema.families import families
from ckptconv.schema.model import Model


@dataclass(frozen=True, slots=True)
class ModelType:
    """One kind of model, as `model_type` in its config names it."""

    model_type: str
    kind: str
    """What messages and JSON call it, such as `pair`."""
    classes: Mapping[str, str]
    """Naming -> the class in transformers that loads the whole; `architectures` in every config names PyTorch's."""
    read: Callable[[Config], Model]
    """Raises SourceError: a config that no class can take, or no table for one of its parts."""


def models() -> dict[str, ModelType]:
    """Return every kind of model, by the model type of its config."""
    return {kind.model_type: kind for kind in discover("schema.models", "MODEL").values()}


def read_model(config: Config) -> Model:
    """Return the model that a config describes.

    Raises: SourceError: a kind of model that there is no table for, or a config that no class can take.
    """
    model_type = config.get("model_type")
    kinds = models()
    if isinstance(model_type, str) and model_type in kinds:
        return kinds[model_type].read(config)
    raise SourceError(
        f"{config.where}: model type {model_type!a} is not {' or '.join(map(repr, sorted(kinds)))}.\n"
        "ckptconv converts what EncoderDecoderModel saved: an encoder and a decoder in one checkpoint."
        f"{_advice(config)}"
    )


def _advice(config: Config) -> str:
    """Say what a checkpoint of another kind is, and what would serve."""
    if config.get("model_type") in [*families()]:  # whatever JSON it is: a list is in no dict
        return "\nThis is one model; `ckptconv join ENCODER DECODER OUT` makes a pair of two."
    if config.get("is_encoder_decoder") is True:
        return "\nThis is an encoder-decoder of one piece, such as T5 or Marian; ckptconv has no table for those."
    return ""
