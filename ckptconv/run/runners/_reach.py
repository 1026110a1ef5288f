"""Which elements of a PyTorch model's parameters had any influence on what is compared.

Each probe runs once with gradients: of one number that depends on every state, attention map, logit and loss that
counts, each with a random weight, so that no two influences cancel. In float64, where none is lost to underflow.
What is mathematically none at all (a bias of all keys shifts each softmax as a whole) comes out as rounding noise:
sixteen digits below the others, where the bound is twelve.

What takes time is the way back through the layers, so it is kept short. A tensor of which all was reached is
watched no longer, nor in a long probe what was noise in all short ones. Of a large model the first row runs alone
before the first probe, and decides that for most tensors at a third of the cost. And where the input of a layer is
itself a state that is compared, the way back ends there: whatever lies before it reaches that state, and needs nothing
of what comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ckptconv.run.runners import Batch, ValidPlaces
from ckptconv.run.runners._outputs import states
from ckptconv.run.yardstick import is_map

NOISE = 1e-12
"""A gradient that is smaller than this part of the largest is none: float64 rounds to 1e-16."""

WARM_UP = 1
"""Rows of the first probe that run once without gradients, to see which layers take a state as it is compared."""

MANY = 10_000_000
"""Elements of a large model: the way back through more than one row of it takes longer than one more run."""

TRAINED_BUFFER = "final_logits_bias"
"""What BART's kind adds to the logits: a buffer to PyTorch, with values of its own in Marian."""

Outputs = Callable[[Any, Batch, bool], Any]
"""(model, probe, whether to ask for attention maps) -> what the class gives."""
Forward = Callable[..., Any]
"""A layer's forward pass."""
MAIN_INPUT = "hidden_states"
"""What layers call their first input where it is passed by name."""


@dataclass(slots=True)
class _Influence:
    """What the probes so far reached of one parameter."""

    reached: Any
    """Tensor of bool: which elements had an influence."""
    largest: float = 0.0
    """The largest gradient."""
    complete: bool = False
    """Whether all elements are reached."""

    def note(self, parameter: Any) -> None:
        """Take a gradient, and free its memory."""
        gradient, parameter.grad = parameter.grad, None
        rows: Any = slice(None)
        if gradient.is_sparse:
            sums = gradient.coalesce()
            (rows,), gradient = sums.indices(), sums.values()
        # Not abs(): that is an array more for each gradient, two gigabytes in all for a bert-base pair.
        least, most = map(float, gradient.aminmax()) if gradient.numel() else (0.0, 0.0)
        largest = max(-least, most)
        self.largest = max(self.largest, largest)
        if largest > 0:
            self.reached[rows] |= gradient > NOISE * largest
            self.reached[rows] |= gradient < -NOISE * largest
            self.complete = bool(self.reached.all())


class Gradients:
    """A model that runs with gradients, and keeps note of what they reach."""

    def __init__(
        self,
        model: Any,
        outputs: Outputs,
        valid: ValidPlaces,
        precision: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Watch every parameter.

        Args: outputs: runs one probe and returns what the class gives. precision: in which it runs; what is computed
        again on the way back is so outside of the caller's.
        """
        self.model, self._outputs, self._valid, self._precision = model, outputs, valid, precision
        self._random = np.random.default_rng(0)
        self._influences: dict[str, _Influence] = {}
        self._cuts: tuple[Any, ...] | None = None
        torch = import_module("torch")
        for module in model.modules():
            if type(module) is torch.nn.Embedding:
                # keeps training off that row, and so its gradient from us
                module.padding_idx = None
                # a gradient has the rows of the tokens alone; a whole one is mostly zeros to make and to look at
                module.sparse = True
        trained_buffers = (
            (name, buffer)
            for name, buffer in model.named_buffers()
            if name.endswith(TRAINED_BUFFER)
        )
        for name, parameter in (*model.named_parameters(), *trained_buffers):
            if parameter.is_floating_point():
                self._influences[name] = _Influence(torch.zeros(parameter.shape, dtype=torch.bool))
                parameter.requires_grad_(True)
                parameter.register_post_accumulate_grad_hook(self._influences[name].note)

    def run(self, batch: Batch, maps: bool) -> Any:
        """Run one probe; return what the class gives."""
        if self._cuts is None:
            first = {name: array[:WARM_UP] for name, array in batch.items()}
            self._cuts = self._layers_after_states(first)
            if self._is_large and len(next(iter(batch.values()))) > WARM_UP:
                self._run_watched(first, maps, self._cuts)
                self._watch_less(noise=True)
        self._watch_less(noise=not maps)
        return self._run_watched(batch, maps, self._cuts)

    @property
    def _is_large(self) -> bool:
        count: int = sum(influence.reached.numel() for influence in self._influences.values())
        return count > MANY

    def _run_watched(self, batch: Batch, maps: bool, cuts: Iterable[Any]) -> Any:
        """Run a probe and the way back from it, to what is watched."""
        torch = import_module("torch")
        with torch.enable_grad(), ExitStack() as stack:
            if not maps:  # a long probe
                stack.enter_context(_recomputing(self.model, self._precision))
            for layer in cuts:
                stack.enter_context(_wrapped(layer, _cut_off))
            outputs = self._outputs(self.model, batch, maps)
            number = self._number(outputs, batch)
            if number.requires_grad:
                number.backward()
        return outputs

    def _watch_less(self, noise: bool) -> None:
        """Stop watching what was reached in full, and where `noise`, what had no gradient but noise so far."""
        limit = NOISE * max((tensor.largest for tensor in self._influences.values()), default=0.0)
        for name, parameter in self.model.named_parameters():
            influence = self._influences.get(name)
            if influence is not None and (
                influence.complete or (noise and 0 < influence.largest <= limit)
            ):
                parameter.requires_grad_(False)

    def _layers_after_states(self, rows: Batch) -> tuple[Any, ...]:
        """Return the layers whose main input, whenever they are called, is a state that is compared."""
        torch = import_module("torch")
        inputs: dict[Any, list[Any]] = {}

        def keep(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs.setdefault(layer, []).append(args[0] if args else kwargs.get(MAIN_INPUT))

        hooks = [
            layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers(self.model)
        ]
        with torch.no_grad():
            outputs = self._outputs(self.model, rows, False)
        for hook in hooks:
            hook.remove()
        compared = {
            id(state)
            for name, state in states(outputs).items()
            if self._valid(rows, name, tuple(state.shape)) is not None
        }
        return tuple(
            layer
            for layer, tensors in inputs.items()
            if all(id(tensor) in compared for tensor in tensors)
        )

    def _number(self, outputs: Any, batch: Batch) -> Any:
        """Return one number that depends on everything that counts."""
        torch = import_module("torch")
        total = torch.zeros(())
        for name, state in states(outputs).items():
            valid = self._valid(batch, name, tuple(state.shape))
            if valid is None or not state.requires_grad:
                continue
            if is_map(name, state.dim()):
                valid = valid[:, None]
            counts = valid.reshape(valid.shape + (1,) * (state.dim() - valid.ndim))
            weights = torch.as_tensor(self._random.standard_normal(state.shape) * counts)
            total = total + (state * weights.to(state.device)).sum()
        return total

    def reached(self) -> dict[str, list[int]]:
        """Return name -> elements that were reached, and rows (of the first axis) with at least one of them."""
        return {name: _count(mask) for name, mask in self.masks().items()}

    def masks(self) -> dict[str, Any]:
        """Return name -> which elements were reached, a tensor of bool in the parameter's shape."""
        largest = max((influence.largest for influence in self._influences.values()), default=0.0)
        return {
            name: influence.reached & (influence.largest > NOISE * largest)
            for name, influence in self._influences.items()
        }


def _count(reached: Any) -> list[int]:
    rows = reached.reshape(len(reached), -1).any(dim=1) if reached.dim() else reached
    return [int(reached.sum()), int(rows.sum())]


def layers(model: Any) -> Iterator[Any]:
    """Yield what the model's lists of modules hold; of lists within lists (T5's layers are such) the outer level."""
    torch = import_module("torch")
    within: set[Any] = set()
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and module not in within:
            within.update(module.modules())
            yield from module


@contextmanager
def _wrapped(layer: Any, wrap: Callable[[Forward], Forward]) -> Iterator[None]:
    """Let a layer run otherwise: hides the class's `forward`, or an earlier wrapping, until it is taken off again."""
    outer = vars(layer).get("forward")
    layer.forward = wrap(layer.forward)
    try:
        yield
    finally:
        if outer is None:
            del layer.forward
        else:
            layer.forward = outer


def _cut_off(forward: Forward) -> Forward:
    """Return a layer's forward pass from whose main input no way leads back."""

    def cut_off(*args: Any, **kwargs: Any) -> Any:
        if args:
            return forward(args[0].detach(), *args[1:], **kwargs)
        return forward(**{**kwargs, MAIN_INPUT: kwargs[MAIN_INPUT].detach()})

    return cut_off


@contextmanager
def _recomputing(
    model: Any, precision: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """Keep each layer's input only, and compute the rest again on the way back: a long probe takes gigabytes else."""
    recomputed = partial(
        import_module("torch.utils.checkpoint").checkpoint,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), precision()),
    )
    with ExitStack() as stack:
        for layer in layers(model):
            stack.enter_context(_wrapped(layer, lambda forward: partial(recomputed, forward)))
        yield
