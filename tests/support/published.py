"""The classes in which transformers publishes a family, with random weights, and what its loaders keep of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tiny import plain

LOADERS = {"encoder": "AutoModel", "decoder": "AutoModelForCausalLM"}
"""Role -> what `from_encoder_decoder_pretrained` loads it with."""
NOISE = 0.1


def classes(family: str) -> list[str]:
    """Return every class of PyTorch's that transformers lists for a model type, of whatever task."""
    mappings = import_module("transformers.models.auto.modeling_auto")
    transformers = import_module("transformers")
    names = set()
    for name, mapping in vars(mappings).items():
        if name.startswith("MODEL") and name.endswith("_MAPPING_NAMES") and family in mapping:
            entry = mapping[family]
            names |= {entry} if isinstance(entry, str) else set(entry)
    return sorted(name for name in names if hasattr(transformers, name))


def save(name: str, family: str, folder: Path, **changes: Any) -> Path:
    """Save a model of a class, no tensor of which is as it was initialised; return the folder."""
    torch, transformers = import_module("torch"), import_module("transformers")
    config = transformers.AutoConfig.for_model(**plain(family) | changes)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(transformers, name)(config)
        for weight in model.parameters():
            weight.add_(NOISE * torch.randn_like(weight))
        model.save_pretrained(folder)
    return folder


def loaded(folder: Path, role: str) -> Iterator[tuple[str, Any]]:
    """Return what the loader of a role keeps of a saved model: below the role's name, without what it draws anew."""
    transformers = import_module("transformers")
    config = transformers.AutoConfig.from_pretrained(folder)
    if role == "decoder":
        config.is_decoder = config.add_cross_attention = True
    model, info = getattr(transformers, LOADERS[role]).from_pretrained(
        folder, config=config, output_loading_info=True
    )
    for name, tensor in model.state_dict().items():
        if name not in info["missing_keys"]:
            yield f"{role}.{name}", tensor.detach().numpy()
