"""Checkpoints whose tensors are not the model's numbers: quantised, or emptied by a training framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptconv.schema.config import Config
from ckptconv.stores.tensor import Stored

CODES = frozenset(
    {"qweight", "qzeros", "g_idx", "SCB", "absmax", "quant_map", "weight_packed", "weight_scale"}
)
"""Last levels of the names beside, or in place of, a quantised weight (GPTQ, AWQ, bitsandbytes, compressed-tensors)."""
WEIGHTS = frozenset({"weight", "kernel"})


def conditions(config: Config, tensors: Mapping[str, Stored]) -> Iterator[str]:
    """Say why a checkpoint's tensors cannot be taken for the model's, and what to do: a line for each cause."""
    levels = (config.values, config.get("encoder"), config.get("decoder"))
    said = (level.get("quantization_config") for level in levels if isinstance(level, Mapping))
    quantised = next(filter(None, said), None)
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        how = f" ({method!a:.40})" if isinstance(method, str) else ""
        yield (
            f"quantised{how}: its tensors are codes, not weights. Load it with its class, call"
            " model.dequantize(), and save it, or use the checkpoint that it was made of."
        )
    codes = (
        [] if quantised else sorted(name for name, each in tensors.items() if _is_code(name, each))
    )
    if codes:
        more = f" and {len(codes) - 1} more" if len(codes) > 1 else ""
        yield (
            f"quantised: {codes[0]!a:.200}{more} are codes, not weights. Load it with its class, call"
            " model.dequantize(), and save it, or use the checkpoint that it was made of."
        )
    empty = [name for name, stored in tensors.items() if stored.spec.numel == 0]
    if empty:
        yield (
            f"{len(empty)} of {len(tensors)} tensors are empty, such as {min(empty)!a:.200}: saved from ZeRO-3 or"
            " FSDP without gathering. Save it once more with the weights gathered, or run zero_to_fp32.py."
        )


def _is_code(name: str, stored: Stored) -> bool:
    level = name.replace("/", ".").rpartition(".")[2].removesuffix(":0")
    return level in CODES or (level in WEIGHTS and stored.spec.dtype in ("int8", "uint8"))
