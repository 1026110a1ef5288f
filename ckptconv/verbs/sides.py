"""What `split` would write of a model of one piece: the side that a class of transformers loads by itself, if any does.

`inspect` asks for it, too. A side holds the table of words that both share, under the names of its own class; what that
class has no place for is a refusal, since the side would answer otherwise than in the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ckptconv.base.errors import PlanError, Problem, SourceError
from ckptconv.base.strict_json import Json
from ckptconv.binding.bind import Binding, excerpt
from ckptconv.binding.plan import Constant, DtypeChoice, Plan, make_plan
from ckptconv.schema.family import SideName, Standalone
from ckptconv.schema.formulas import Zeros
from ckptconv.schema.model import Model
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.seq2seq import Seq2Seq
from ckptconv.schema.tensors import expand
from ckptconv.stores.tensor import Stored
from ckptconv.verbs.planning import Planned

SIDE_KEYS: Mapping[SideName, Mapping[str, Json]] = {
    "encoder": {"is_encoder_decoder": False},
    "decoder": {"is_decoder": True, "is_encoder_decoder": False, "add_cross_attention": True},
}
"""What a side of one piece says of itself: what its class sets, and that a decoder reads an encoder."""
BIAS, NO_PLACE = "final_logits_bias", "this class has no place for it"
LEFT: Mapping[SideName, Collection[str]] = {
    "encoder": ("encoder",),
    "decoder": ("decoder", "cross-attention", "head"),
}
"""Parts of the whole whose tensors a side must hold, all of them."""


@dataclass(frozen=True, slots=True)
class SidePlan:
    """What `split` writes of one side of a model of one piece."""

    name: SideName
    model_class: str
    plan: Plan
    config: dict[str, Json]


def side_plans(planning: Planned, dtype: DtypeChoice = "keep") -> tuple[SidePlan, ...]:
    """Return what each side of a model of one piece becomes that a class loads by itself; () of a pair.

    Args: planning: of the whole, so that all of it is there.
    Raises: SourceError: there is no such class, or it has no place for some of the weights.
    """
    model = planning.model
    if not isinstance(model, Seq2Seq):
        return ()
    if not model.sides:
        config = model.config
        raise SourceError(
            f"{config.where}: {config.get('model_type')!r}: transformers 4.57.6 has no class that holds its encoder or"
            " its decoder by itself, so there is nothing to split it into."
        )
    return tuple(_side_plan(planning, name, side, dtype) for name, side in model.sides.items())


def _side_plan(planning: Planned, name: SideName, side: Standalone, dtype: DtypeChoice) -> SidePlan:
    """Plan one side. Raises PlanError: its class has no place for some of the weights, or another size of them."""
    model, whole = planning.model, planning.binding
    tensors = expand(side.modules(model.side(name).config), NAMINGS)
    binding = excerpt(tensors, whole, side.below)
    lost = _without_place(name, side, binding, whole)
    bias = lost.pop(BIAS, None)
    problems = [Problem("cannot hold", stored.spec.name, NO_PLACE) for stored in lost.values()]
    problems += binding.problems()
    if problems:
        hint = f"{side.model_class} is what holds the {name} by itself, and it does not take these weights."
        raise PlanError(model.config.where, problems, hint)
    plan = make_plan(binding, "pytorch", what=model.config.where, dtype=dtype)
    if bias is not None:
        why = f"{side.model_class} adds no bias to its logits"
        plan = replace(plan, constants=(*plan.constants, Constant(bias, Zeros(), why)))
    values: dict[str, Json] = {
        **model.config.values,
        **SIDE_KEYS[name],
        **(_cache_layers(model) if name == "decoder" else {}),
        "architectures": [side.model_class],
    }
    return SidePlan(name, side.model_class, plan, values)


def _cache_layers(model: Model) -> Mapping[str, Json]:
    """Return the key by which a decoder's class has a cache for each of its layers.

    Source: transformers 4.57.6, `DynamicCache` counts `num_hidden_layers`, which these configs take from the encoder:
    with more layers in the decoder every cached step raises IndexError.
    """
    layers = [model.config.get(f"{side}_layers") for side in ("encoder", "decoder")]
    encoder, decoder = (number if isinstance(number, int) else 0 for number in layers)
    return {"num_hidden_layers": decoder} if decoder > encoder else {}


def _without_place(
    name: SideName, side: Standalone, binding: Binding, whole: Binding
) -> dict[str, Stored]:
    """Return what the whole holds for a side and no tensor of the side's own class takes: key -> where it lies."""
    taken: set[str | None] = set()
    for key in (side.below + key for key in binding.tensors):
        tensor = whole.tensors.get(key)
        if tensor is not None:
            taken |= {key, whole.owner(key), tensor.tied_to if tensor.shares else None}
    return {
        key: stored
        for key, stored in whole.stored.items()
        if whole.tensors[key].module.part in LEFT[name]
        and key not in taken
        and not (whole.tensors[key].is_buffer or whole.tensors[key].shares)
    }


def side_notices(model: Model, sides: Sequence[SidePlan]) -> Iterator[str]:
    """Say of each side which class loads it, or that none does."""
    by_name = {side.name: side for side in sides}
    for name in SIDE_KEYS if sides else ():
        side = by_name.get(name)
        if side is None:
            yield f"{name}: left out, since transformers 4.57.6 has no class that holds it by itself"
            continue
        alone = model.sides[name] if isinstance(model, Seq2Seq) else None
        if alone is not None and alone.no_pair:
            yield f"{name}: {side.model_class} loads it; no pair can take it, since {alone.no_pair}"
        yield from (f"{name}: {notice}" for notice in side.plan.notices)
