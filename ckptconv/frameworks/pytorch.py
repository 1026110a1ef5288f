"""PyTorch: float32 as its class computes it, and float64 as the reference for all frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.config import Json
from ckptconv.frameworks import Array, Framework, Loaded, loading_problems, quantities


def load(checkpoint: Path) -> Loaded:
    """Load an `EncoderDecoderModel` in float32, for inference.

    Eager attention, since SDPA picks kernels by size and differs at padded rows; no TF32, which
    halves the mantissa on Ampere and later.
    """
    torch = import_module("torch")
    transformers = import_module("transformers")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model, info = transformers.EncoderDecoderModel.from_pretrained(
        str(checkpoint),
        local_files_only=True,
        dtype=torch.float32,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    settings: dict[str, Json] = {"attention": "eager", "tf32": False, "device": str(model.device)}
    return Loaded(model.eval(), loading_problems(info), settings)


def forward(model: Any, batch: Mapping[str, Array], precision: str) -> dict[str, Array]:
    """Run one probe in `float32` or `float64`; the weights keep their float32 values either way.

    The default dtype goes along: XGLM's mask is made in it, from the smallest number of the model's.
    """
    torch = import_module("torch")
    dtype = getattr(torch, precision)
    model.to(dtype)
    inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.inference_mode():
            outputs = model(**inputs, output_hidden_states=True, return_dict=True, use_cache=False)
    finally:
        torch.set_default_dtype(usual)
    return quantities(outputs, lambda tensor: tensor.cpu().numpy())


def generate(model: Any, input_ids: Array, attention_mask: Array, settings: Mapping[str, Json] | None) -> Array:
    """Generate in float32; see `Framework.generate`."""
    torch = import_module("torch")
    model.to(torch.float32)
    if settings is not None:
        model.generation_config = import_module("transformers").GenerationConfig(**settings)
    inputs = {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(attention_mask),
    }
    with torch.inference_mode():
        sequences: Array = model.generate(**inputs).cpu().numpy()
    return sequences


FRAMEWORK = Framework(
    name="pytorch",
    model_class="EncoderDecoderModel",
    imports=("torch", "transformers"),
    versions=("torch", "transformers", "safetensors"),
    environment={"USE_TORCH": "1", "USE_TF": "0", "USE_FLAX": "0", "NVIDIA_TF32_OVERRIDE": "0"},
    load=load,
    forward=forward,
    generate=generate,
    precisions=("float32", "float64"),
)
