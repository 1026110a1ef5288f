"""Faults for the configs of a good conversion: what a hand that edits them, or another tool, gets wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptconv.schema.model import Model, Part

ACTIVATIONS = (
    "hidden_act",
    "activation_function",
    "activation",
    "afn",
    "ff_activation",
    "hidden_activation",
)
EPSILONS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")
SCALINGS = (
    "scale_attn_weights",
    "scale_embedding",
    "scale_attn_by_inverse_layer_idx",
    "rope_theta",
)
FILE = "generation_config.json"


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One key that gets another value."""

    kind: str
    file: str
    key: str
    """With the side before it."""
    value: Any

    @property
    def named(self) -> str:
        """The key as a report has to name it."""
        return f"generation_config.{self.key}" if self.file == FILE else self.key

    def __str__(self) -> str:
        return f"{self.kind}: {self.named} = {self.value!r}"

    def write(self, folder: Path) -> None:
        """Change the key in a checkpoint."""
        path = folder / self.file
        config = json.loads(path.read_text()) if path.exists() else {}
        *above, key = self.key.split(".")
        part = config
        for one in above:
            part = part[one]
        part[key] = self.value
        path.write_text(json.dumps(config))


@contextmanager
def misconfigured(fault: ConfigFault, folder: Path) -> Iterator[None]:
    """Change a key; put the file back as it was at the end."""
    path = folder / fault.file
    before = path.read_bytes() if path.exists() else None
    try:
        fault.write(folder)
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def config_faults(composition: Model, folder: Path) -> Iterator[ConfigFault]:
    """Return every fault that the configs of a model's parts can have; one of one piece has no level above its keys."""
    for name, side in composition.parts.items():
        for kind, key, value in _of_side(side):
            yield ConfigFault(kind, "config.json", f"{name}.{key}".lstrip("."), value)
    if "decoder" in composition.parts:
        yield ConfigFault("no longer a decoder", "config.json", "decoder.is_decoder", False)
    whole = composition.config
    start = int(str(whole.get("decoder_start_token_id") or 0))
    yield ConfigFault(
        "wrong decoder_start_token_id", "config.json", "decoder_start_token_id", start + 1
    )
    if (folder / FILE).exists():
        yield ConfigFault("wrong decoder_start_token_id", FILE, "decoder_start_token_id", start + 1)
        yield ConfigFault("beams changed", FILE, "num_beams", 7)


def _of_side(side: Part) -> Iterator[tuple[str, str, Any]]:
    """Return kind, key and value."""
    config = side.config
    known = config.values.keys() | config.defaults.keys()
    if (key := _first(ACTIVATIONS, known)) is not None:
        yield "activation changed", key, "relu" if config.get(key) != "relu" else "gelu"
    epsilon = _first(EPSILONS, known) or EPSILONS[0]
    yield "epsilon changed", epsilon, 1e-3
    for key in SCALINGS:
        if key in known:
            value = config.get(key)
            yield "scaling changed", key, value * 2 if isinstance(value, float) else not value
    if side.family.positions == "padding":
        yield (
            "positions shifted by one",
            "pad_token_id",
            int(str(config.get("pad_token_id") or 0)) + 1,
        )
    heads = config.aliases.get("num_attention_heads", "num_attention_heads")
    if config.get(heads) != 1:
        yield "heads changed", heads, 1
    if "position_embedding_type" in known:
        yield "kind of positions changed", "position_embedding_type", "relative_key"


def _first(keys: tuple[str, ...], known: Any) -> str | None:
    return next((key for key in keys if key in known), None)
