"""Random models of one piece, of images and of speech, from the data in `fixtures/configs/KIND`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import numpy as np

from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import ITEMSIZE, TensorSpec
from tiny import ROOT, _fan_in

Json: TypeAlias = dict[str, Any]

KINDS = ("seq2seq", "vision", "speech")
COMPOSITES = {"vision": "VisionEncoderDecoder", "speech": "SpeechEncoderDecoder"}
_NONE = {"USE_TORCH": "0", "USE_TF": "0", "USE_FLAX": "0", "HF_HUB_OFFLINE": "1"}
ENVIRONMENT = {
    "pytorch": _NONE | {"USE_TORCH": "1"},
    "tf": _NONE | {"USE_TF": "1", "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
    "flax": _NONE
    | {
        "USE_FLAX": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    },
}
"""Of a process with one framework alone."""
NOISE, GAIN = 0.3, 1.5
"""Of what is one-dimensional; and of matrices over their inputs: attention is sharp, so that positions count."""


def names(kind: str, family: str) -> Json:
    """Return what the classes of transformers said; see `fixtures/make_wider_names.py`."""
    path = ROOT / "fixtures" / "names" / kind / f"{family}.json"
    content: Json = json.loads(path.read_text())
    return content


def families(kind: str, naming: str) -> list[str]:
    """Return the families of a kind whose plain variant a framework's class can run."""
    stems = sorted(path.stem for path in (ROOT / "fixtures" / "names" / kind).glob("*.json"))
    return [
        stem for stem in stems if "class" in names(kind, stem)["variants"]["plain"].get(naming, {})
    ]


def config_of(kind: str, family: str, variant: str = "plain") -> Json:
    """Return the config.json of a variant, as the classes got it."""
    config: Json = names(kind, family)["variants"][variant]["config"]
    return dict(config)


def checkpoint(
    folder: Path, kind: str, family: str, more: Mapping[str, list[int]] | None = None
) -> Path:
    """Write a checkpoint with the tensors that PyTorch's class has, each with values of its own; no framework runs.

    A bias of logits is zero, as no decoder by itself has one. A pair's decoder is what the tables say.

    Args: more: names and shapes of tensors beside.
    """
    folder.mkdir()
    pytorch = names(kind, family)["variants"]["plain"]["pytorch"]
    tied = {name for group in pytorch["tied"] for name in sorted(group)[:-1]}
    shapes = {name: shape for name, shape in pytorch["tensors"].items() if name not in tied}
    if kind in COMPOSITES:
        shapes |= _decoder_shapes(config_of(kind, family))
    shapes |= more or {}
    biases = {"final_logits_bias"} & shapes.keys()
    schema = {tensor.key: tensor for tensor in read_model(Config(config_of(kind, family))).tensors}
    integers = {
        name: tensor.module.formula
        for name, tensor in schema.items()
        if tensor.integers("pytorch") and tensor.module.formula
    }
    specs = [
        TensorSpec(name, "int64" if name in integers else "float32", tuple(shape))
        for name, shape in shapes.items()
    ]
    places = safetensors.create(folder / "model.safetensors", specs, "pytorch", False)
    noise = np.random.default_rng(0)
    with (folder / "model.safetensors").open("r+b") as file:
        for spec in specs:
            file.seek(places[spec.name][0].offset)
            values = noise.normal(size=spec.shape) * (spec.name not in biases)
            if spec.dtype == "int64":
                values = integers[spec.name].values(spec.shape)
            file.write(values.astype(f"<{spec.dtype[0]}{ITEMSIZE[spec.dtype]}").tobytes())
    (folder / "config.json").write_text(json.dumps(config_of(kind, family)))
    return folder


def _decoder_shapes(config: Json) -> dict[str, list[int]]:
    """Return name -> shape of what a pair's decoder must have."""
    return {
        tensor.key: list(tensor.shape("pytorch"))
        for tensor in read_model(Config(config)).tensors
        if tensor.key.startswith("decoder.") and tensor.required
    }


def torch_and_transformers() -> tuple[Any, Any]:
    """Import PyTorch and transformers alone."""
    with patch.dict(os.environ, {"USE_TORCH": "1", "USE_TF": "0", "USE_FLAX": "0"}):
        torch = import_module("torch")
        torch.set_num_threads(1)
        return torch, import_module("transformers")


def random_model(
    pytorch_class: str, config: Json, folder: Path, *, seed: int = 0, safe: bool = True
) -> Path:
    """Save a random model in which every tensor matters, as transformers saves it, and return the folder."""
    torch, transformers = torch_and_transformers()
    values = json.loads(json.dumps(config))
    made = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    torch.manual_seed(seed)
    model = getattr(transformers, pytorch_class)(made).eval()
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not value.requires_grad:
                continue  # positions of sines, which nobody trains
            noise = torch.randn(value.shape)
            if value.ndim < 2 or 1 in value.shape:
                value.add_(NOISE * noise)
            else:
                owner = modules[name.rpartition(".")[0]]
                table = isinstance(owner, torch.nn.Embedding)
                value.copy_(noise if table else GAIN / _fan_in(owner, value) ** 0.5 * noise)
        for name, value in model.named_buffers():
            if name.endswith("final_logits_bias"):
                value.copy_(torch.randn(value.shape))
    model.save_pretrained(folder, safe_serialization=safe)
    return folder
