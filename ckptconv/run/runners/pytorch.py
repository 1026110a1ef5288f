"""PyTorch: float32 as its class computes it, and float64 as the reference for all frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import (
    Array,
    Framework,
    Listener,
    Loaded,
    loading_problems,
    quantities,
    wants_attention,
)
from ckptconv.run.runners._reach import Reach


def load(checkpoint: Path, precision: str = "float32") -> Loaded:
    """Load an `EncoderDecoderModel` for inference, in `float32`, or in `float64` from the same stored weights.

    Eager attention, since SDPA picks kernels by size and differs at padded rows; no TF32, which
    halves the mantissa on Ampere and later.
    """
    torch = import_module("torch")
    transformers = import_module("transformers")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    dtype = getattr(torch, precision)
    model, info = _made_in(dtype, transformers.EncoderDecoderModel).from_pretrained(
        str(checkpoint),
        local_files_only=True,
        dtype=dtype,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    settings: dict[str, Json] = {
        "attention": "eager",
        "tf32": False,
        "onednn": bool(torch.backends.mkldnn.enabled and torch.backends.mkldnn.is_available()),
        "threads": torch.get_num_threads(),
        "device": str(model.device),
    }
    if dtype == torch.float64:
        _make_exact(model, dtype)
    return Loaded(model.eval(), loading_problems(info), settings)


def _made_in(dtype: Any, kind: Any) -> Any:
    """Return the class whose model is made in a precision; not its weights, whose bytes keep their meaning."""

    def __init__(self: Any, *args: Any, **settings: Any) -> None:
        with in_precision(dtype):
            kind.__init__(self, *args, **settings)

    return type(kind.__name__, (kind,), {"__init__": __init__, "__module__": kind.__module__})


def _make_exact(model: Any, dtype: Any) -> None:
    """Undo what classes insist on: XLNet makes parameters in float32, GPT-2 may refuse to attend in anything else.

    GPT-2's `reorder_and_upcast_attn` changes only how attention rounds, so without it float64 says the same.
    """
    model.to(dtype)
    for module in model.modules():
        if getattr(module, "reorder_and_upcast_attn", False):
            module.reorder_and_upcast_attn = False


@contextmanager
def in_precision(dtype: Any) -> Iterator[None]:
    """Compute in float64 throughout, where `dtype` is float64.

    Classes ask for float32 by name here and there: tables of sines when they are built, softmax in LLaMA.
    In the reference such a step would round, and a table's own rounding, which every framework does in its
    own way, would be taken for exact.
    """
    torch = import_module("torch")
    usual = torch.get_default_dtype()
    if dtype != torch.float64:
        yield
        return
    torch.set_default_dtype(dtype)
    try:
        with _widening()():
            yield
    finally:
        torch.set_default_dtype(usual)


@cache
def _widening() -> Callable[[], Any]:
    """Return a mode in which every request for float32 is one for float64."""
    torch = import_module("torch")
    overrides = import_module("torch.overrides")

    def wide(value: Any) -> Any:
        return torch.float64 if value is torch.float32 else value

    class Widening(overrides.TorchFunctionMode):  # type: ignore[misc, name-defined, unused-ignore]
        def __torch_function__(
            self,
            function: Any,
            types: Any,
            args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
        ) -> Any:
            function = torch.Tensor.double if function is torch.Tensor.float else function
            named = {name: wide(value) for name, value in (kwargs or {}).items()}
            return function(*(wide(value) for value in args), **named)

    return Widening


def forward(model: Any, batch: Mapping[str, Array]) -> dict[str, Array]:
    """Run one probe, in the precision of the model; the loss is the class's own."""
    torch = import_module("torch")
    with in_precision(model.dtype), torch.inference_mode():
        outputs = _outputs(model, batch)
    return quantities(outputs, _array)


def _outputs(model: Any, batch: Mapping[str, Array]) -> Any:
    torch = import_module("torch")
    inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
    return model(
        **inputs,
        output_hidden_states=True,
        output_attentions=wants_attention(batch),
        return_dict=True,
        use_cache=False,
    )


def _array(tensor: Any) -> Array:
    found: Array = tensor.detach().cpu().numpy()
    return found


class Reaching(Reach):
    """Runs probes with gradients; see `Framework.reach`."""

    def __init__(self, model: Any) -> None:
        """Watch every parameter."""
        super().__init__(model, _outputs)

    def forward(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Run one probe; the answer is that of `forward`."""
        with in_precision(self.model.dtype):
            outputs = self.run(batch)
        return quantities(outputs, _array)


def generate(
    model: Any, input_ids: Array, attention_mask: Array, listener: Listener | None = None
) -> Array:
    """Generate; see `Framework.generate`."""
    torch = import_module("torch")
    transformers = import_module("transformers")

    def hear(tokens: Any, scores: Any) -> Any:
        assert listener is not None
        listener(tokens.cpu().numpy(), scores.detach().cpu().numpy().copy())
        return scores

    inputs = {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(attention_mask),
    }
    heard = transformers.LogitsProcessorList([hear] if listener else [])
    with in_precision(model.dtype), torch.inference_mode():
        sequences: Array = model.generate(**inputs, logits_processor=heard).cpu().numpy()
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
    reach=Reaching,
)
