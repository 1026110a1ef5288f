"""PyTorch: float32 as its class computes it, and float64 as the reference for all runners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.strict_json import Json
from ckptconv.run.phases import teller
from ckptconv.run.runners import (
    Array,
    Batch,
    InputSupport,
    Listener,
    Process,
    Reach,
    Runner,
    ValidPlaces,
)
from ckptconv.run.runners._outputs import (
    ClassSession,
    loading_problems,
    plain_generate,
    quantities,
    set_generation,
)
from ckptconv.run.runners._reach import Gradients


class PyTorchSession(ClassSession):
    """A model of PyTorch's class, in one precision."""

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Run one probe, in the precision of the model; the loss is the class's own."""
        torch = import_module("torch")
        with in_precision(self.model.dtype), torch.inference_mode():
            outputs = _outputs(self.model, batch, maps)
        return quantities(outputs, _array)

    def generate(
        self, inputs: Batch, settings: Mapping[str, Json] | None, listener: Listener | None = None
    ) -> Array:
        """Generate; see `Session.generate`."""
        torch = import_module("torch")
        transformers = import_module("transformers")

        def hear(tokens: Any, scores: Any) -> Any:
            assert listener is not None
            listener(tokens.cpu().numpy(), scores.detach().cpu().numpy().copy())
            return scores

        processors = transformers.LogitsProcessorList([hear] if listener else [])
        set_generation(self.model, self._own, settings)
        with in_precision(self.model.dtype), torch.inference_mode():
            sequences: Array = (
                plain_generate(self.model, settings)(
                    **_tensors(inputs, self.model.dtype), logits_processor=processors
                )
                .cpu()
                .numpy()
            )
        return sequences

    def reach(self, valid: ValidPlaces) -> Reach:
        """Return what runs probes with gradients."""
        return PyTorchReach(self.model, valid)


class PyTorchReach(Gradients):
    """Runs probes with gradients; see `Session.reach`."""

    def __init__(self, model: Any, valid: ValidPlaces) -> None:
        """Watch every parameter."""
        super().__init__(model, _outputs, valid, lambda: in_precision(model.dtype))

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Run one probe; the answer is that of `PyTorchSession.forward`."""
        with in_precision(self.model.dtype):
            outputs = self.run(batch, maps)
        return quantities(outputs, _array)


class PyTorch(Runner):
    """The classes of transformers 4.57.6 for PyTorch."""

    name = "pytorch"
    process = Process(
        modules=("torch", "transformers"),
        extra="pytorch",
        distributions=("torch", "transformers", "safetensors"),
        environment={
            "USE_TORCH": "1",
            "USE_TF": "0",
            "USE_FLAX": "0",
            "NVIDIA_TF32_OVERRIDE": "0",
        },
        hidden=(
            "scipy",
        ),  # transformers looks for it, for losses of models that find objects: half a second
        frugal=True,
    )
    precisions = ("float32", "float64")
    _usual_threads = 0
    """What PyTorch, or the environment, chose."""

    def support(self, path: Path | None) -> InputSupport:
        """Return what every model takes: everything."""
        return InputSupport("PyTorch's class")

    def use_threads(self, count: int | None) -> None:
        """Set the threads of an operation, or again as many as PyTorch has of itself."""
        torch = import_module("torch")
        self._usual_threads = self._usual_threads or torch.get_num_threads()
        torch.set_num_threads(min(count or self._usual_threads, self._usual_threads))

    def load(self, path: Path, precision: str, model_class: str) -> PyTorchSession:
        """Load a model for inference, in `float32`, or in `float64` from the same stored weights.

        Eager attention, since SDPA picks kernels by size and differs at padded rows; no TF32, which
        halves the mantissa on Ampere and later.
        """
        torch = import_module("torch")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        dtype = getattr(torch, precision)
        transformers_class = getattr(import_module("transformers"), model_class)
        model, info = _made_in(dtype, transformers_class).from_pretrained(
            str(path),
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
        _tell_layers(model)
        return PyTorchSession(model.eval(), loading_problems(info), settings)


def _tell_layers(model: Any) -> None:
    """Let each layer of a stack say when it computes; that changes nothing that it computes."""
    torch = import_module("torch")
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) > 1:
            for number, layer in enumerate(module, 1):
                layer.register_forward_pre_hook(_telling(number, len(module)))


def _telling(number: int, count: int) -> Callable[..., None]:
    def tell(*_: Any) -> None:
        teller().layer(number, count)

    return tell


def _made_in(dtype: Any, transformers_class: Any) -> Any:
    """Return the class whose model is made in a precision; not its weights, whose bytes keep their meaning."""

    def __init__(self: Any, *args: Any, **settings: Any) -> None:
        with in_precision(dtype):
            transformers_class.__init__(self, *args, **settings)

    return type(
        transformers_class.__name__,
        (transformers_class,),
        {"__init__": __init__, "__module__": transformers_class.__module__},
    )


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


def _tensors(batch: Batch, dtype: Any) -> dict[str, Any]:
    """Return a probe as tensors: integers as they are, pixels and samples in the model's precision."""
    torch = import_module("torch")
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def _outputs(model: Any, batch: Batch, maps: bool) -> Any:
    return model(
        **_tensors(batch, model.dtype),
        output_hidden_states=True,
        output_attentions=maps,
        return_dict=True,
        use_cache=False,
    )


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


RUNNER = PyTorch()
