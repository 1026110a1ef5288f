"""DINOv2 with registers: a few more tokens before the patches, which PyTorch alone has.

Source: transformers 4.57.6, models/dinov2_with_registers.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._vit import VIT_DEFAULTS
from ckptconv.schema.families.dinov2 import dinov2_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, parameter


def encoder(c: Config) -> Iterator[Module]:
    """`Dinov2WithRegistersModel`, which has a mask token always."""
    yield from dinov2_stack(c)
    count = c.size("num_register_tokens")
    sizes = {"one": 1, "place": count, "dim": c.size("hidden_size")}
    yield parameter("embeddings.register_tokens", **sizes)


FAMILY = Family(
    model_type="dinov2_with_registers",
    base="dinov2_with_registers",
    main_layer="dinov2_with_registers",
    encoder=Encoder(encoder, {"pytorch": "Dinov2WithRegistersModel"}, reads="pixels"),
    defaults={
        **{key: value for key, value in VIT_DEFAULTS.items() if key != "intermediate_size"},
        "mlp_ratio": 4,
        "use_swiglu_ffn": False,
        "num_register_tokens": 4,
    },
)
