"""One file = one kind of model: which parts a config names, and how they join. The folder is the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    files: Iterable[tuple[ModelType, ...]] = discover("schema.models", "MODELS").values()
    return {kind.model_type: kind for kinds in files for kind in kinds}


def read_model(config: Config) -> Model:
    """Return the model that a config describes.

    Raises: SourceError: a kind of model that there is no table for, or a config that no class can take.
    """
    model_type = config.get("model_type")
    kinds = models()
    if isinstance(model_type, str) and model_type in kinds:
        return kinds[model_type].read(config)
    pairs = sorted(name for name, kind in kinds.items() if kind.kind != "one piece")
    pieces = sorted(name for name, kind in kinds.items() if kind.kind == "one piece")
    raise SourceError(
        f"{config.where}: model type {model_type!a} is no encoder-decoder that ckptconv has a table for.\n"
        f"There are tables for {', '.join(pairs)}, and of one piece: {', '.join(pieces)}."
        f"{_advice(config)}"
    )


def _advice(config: Config) -> str:
    """Say what a checkpoint of another kind is, and what would serve."""
    if config.get("model_type") in [*families()]:  # whatever JSON it is: a list is in no dict
        return "\nThis is one model; `ckptconv join ENCODER DECODER OUT` makes a pair of two."
    return ""
