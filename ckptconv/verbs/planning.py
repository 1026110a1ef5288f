"""What a conversion of a whole would write: its plan, from headers alone, and what only the user can say of it.

`inspect` asks for the plan, too. What weights cannot say is whose positions a Flax checkpoint's tables count: PyTorch
numbers those of RoBERTa-like models from `pad_token_id + 1`, Flax's composite class from 0. One trained in Flax
therefore has the row of its first position at the top of the table; one that `from_pt=True` made has it where PyTorch
has it. The shapes are the same, and `pt2flax` alone writes down what it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ckptconv.base.errors import SourceError, require_choice
from ckptconv.base.presence import is_file
from ckptconv.base.strict_json import Json, read_json
from ckptconv.binding.bind import MADE_OF_ONE_ROW, Binding, bind_whole
from ckptconv.binding.plan import DtypeChoice, Plan, make_plan
from ckptconv.schema.config import Config
from ckptconv.schema.fixes import Healed, RollPositions
from ckptconv.schema.model import (
    Model,
    Part,
    applied_fixes,
    never_healed,
    read_model,
    without_fixes,
)
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.companions import GENERATION
from ckptconv.stores.formats import Format

Positions: TypeAlias = Literal["trained-in-flax", "as-pytorch"]
"""Trained in Flax: the row of the first position is the first. As PyTorch: it is row `pad_token_id + 1`."""
POSITIONS: tuple[Positions, ...] = get_args(Positions)


def require_positions(positions: Positions | None) -> None:
    """Refuse what is no way of counting. Raises UsageError."""
    if positions is not None:
        require_choice("positions", positions, POSITIONS)


def position_fixes(model: Model) -> tuple[Healed, ...]:
    """Return how Flax's own training leaves the tables of positions: rolled, as `pt2flax` rolls them."""
    rolled = {
        f"{part.base}.{rule.module}"
        for part in model.parts.values()
        for rule in part.tables.healings
        if isinstance(rule, RollPositions)
    }
    return tuple(replace(fix, trained=True) for fix in model.fixes() if fix.module in rolled)


def is_ambiguous(model: Model, checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint may count positions in either way, and does not say in which."""
    flax = checkpoint.weights.naming == "flax"
    return flax and bool(position_fixes(model)) and not applied_fixes(model, checkpoint.config)


def unrecorded_fixes(
    model: Model, checkpoint: Checkpoint, positions: Positions | None = None
) -> tuple[Healed, ...]:
    """Return what training in Flax did to a checkpoint's tables and no record says; () for every other checkpoint.

    Raises: SourceError: nobody says how the positions count, or there is nothing to say.
    UsageError: there is no such choice.
    """
    require_positions(positions)
    if not is_ambiguous(model, checkpoint):
        if positions is not None and checkpoint.weights.naming == "flax":
            raise SourceError(f"{checkpoint.path}: {_settled(model)}; omit --positions.")
        return ()
    if positions is None and not is_written_as_pytorch(checkpoint):
        raise SourceError(question(model, checkpoint.path))
    return position_fixes(model) if positions == "trained-in-flax" else ()


def fixes_of_both(
    models: tuple[Model | None, Model | None],
    checkpoints: tuple[Checkpoint, Checkpoint],
    positions: Positions | None,
) -> tuple[tuple[Healed, ...], tuple[Healed, ...]]:
    """Return the unrecorded fixes of two checkpoints that are compared.

    Two that both do not say how they count are taken to count alike, and are compared as they are.

    Args: models: that the checkpoints hold; None for what is no whole model.
    Raises: SourceError: one of the two does not say it, and nobody else does; or there is nothing to say.
    """
    sides = tuple(zip(models, checkpoints, strict=True))
    ambiguous = [model is not None and is_ambiguous(model, each) for model, each in sides]
    if positions is None and all(ambiguous):
        return (), ()
    if positions is not None and not any(ambiguous):
        names = " nor ".join(str(each.path) for each in checkpoints)
        raise SourceError(f"neither {names} leaves its positions open; omit --positions.")
    left, right = (
        unrecorded_fixes(model, each, positions) if model and unsaid else ()
        for (model, each), unsaid in zip(sides, ambiguous, strict=True)
    )
    return left, right


def never_healed_notices(model: Model | None, checkpoint: Checkpoint) -> Iterator[str]:
    """Say that Flax's class cannot generate with a checkpoint that records no healing: in every verb the same."""
    flax = checkpoint.weights.naming == "flax"
    if flax and model is not None and not model.generation_fault("flax"):
        for why in never_healed(model, checkpoint.config):
            yield f"{checkpoint.path}: no record of healing, so Flax's own `generate` fails here: {why}"


def question(model: Model, path: Path) -> str:
    """Return what has to be said before the checkpoint can be read."""
    tables = " and ".join(fix.module for fix in position_fixes(model))
    return (
        f"{path}: {tables}: Flax counts positions from 0, PyTorch from pad_token_id + 1, and nothing here says"
        " which of the two this table was trained with.\n"
        "If the model was trained in Flax, give --positions trained-in-flax;"
        " if from_pt=True or pt2flax --no-heal made it, --positions as-pytorch."
    )


def _settled(model: Model) -> str:
    if position_fixes(model):
        return "its config records how its positions count"
    return "its positions count alike in Flax and PyTorch"


def is_written_as_pytorch(checkpoint: Checkpoint) -> bool:
    """Tell whether these very weights are what `pt2flax --no-heal` wrote, by the manifest beside them."""
    from ckptconv.transfer.manifest import MANIFEST, file_digest, read_manifest

    if not is_file(checkpoint.path / MANIFEST):
        return False
    try:
        manifest, _, _ = read_manifest(checkpoint.path)
    except SourceError:
        return False
    origin = manifest.origin
    if origin.command != "pt2flax" or origin.options.get("heal") is not False:
        return False
    return all(
        file.name in manifest.files and file_digest(file).sha256 == manifest.files[file.name].sha256
        for file in checkpoint.weights.files
    )


WAY_BACK = "if this model is trained further in Flax, `flax2pt --take-trained-row` is the way back"


@dataclass(frozen=True, slots=True)
class Way:
    """From which naming to which, in which format."""

    source: NamingName
    target: NamingName
    form: Format
    heal: bool = False
    positions: Positions | None = None
    """How the positions of a Flax source count, where neither its weights nor its config say."""
    forward_only: bool = False
    """Take a class that cannot generate."""
    take_trained_row: bool = False
    """Take the first of rows that a fix repeated, where training has told them apart."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what it was made from."""

    model: Model
    plan: Plan
    binding: Binding
    """The schema, laid on the source."""
    settings: Mapping[str, Mapping[str, Json]]
    """Config keys that the target gets beside the source's, by part."""


def planned(checkpoint: Checkpoint, way: Way, dtype: DtypeChoice = "keep") -> Planned:
    """Return what a conversion would do; no tensor is read.

    Raises: SourceError: refused, with every problem.
    """
    model = read_model(without_fixes(checkpoint.config))
    fixes = unrecorded_fixes(model, checkpoint, way.positions) if way.source == "flax" else ()
    return plan_bound(checkpoint, model, bind_whole(model, checkpoint, fixes), way, dtype)


def plan_bound(
    checkpoint: Checkpoint, model: Model, binding: Binding, way: Way, dtype: DtypeChoice = "keep"
) -> Planned:
    """Return what a conversion would do of a checkpoint whose schema is laid on it already.

    Raises: SourceError: refused, with every problem.
    """
    model.require_class(way.target, forward_only=way.forward_only)
    plan = make_plan(
        binding,
        way.target,
        what=str(checkpoint.path),
        dtype=dtype,
        widened=way.form.widened,
        fixes=model.fixes() if way.heal else (),
    )
    if way.take_trained_row:
        plan = _of_trained_rows(plan)
    if any(fix.repeated for fix in plan.healed):
        plan = replace(plan, notices=(*plan.notices, WAY_BACK))
    if way.heal:
        _require_healable(model, checkpoint.path)
    return Planned(model, plan, binding, model.settings(way.target))


def _of_trained_rows(plan: Plan) -> Plan:
    """Return the plan that takes the first of repeated rows, equal or not: the one that training in Flax reads."""
    equalities = tuple(pair for pair in plan.equalities if pair.why != MADE_OF_ONE_ROW)
    tables = sorted(
        {
            pair.first.spec.name.partition("[")[0]
            for pair in plan.equalities
            if pair not in equalities
        }
    )
    notices = tuple(
        f"{table}: its first row is taken for all that healing made of it" for table in tables
    )
    return replace(plan, equalities=equalities, notices=(*plan.notices, *notices))


def _require_healable(model: Model, source: Path) -> None:
    """Refuse a RoBERTa-like decoder that starts with the pad token. Raises SourceError.

    PyTorch gives the pad token a position of its own, and in its cached generation the next token the one
    after next; no order of the table's rows fits both in Flax, which counts 0, 1, 2 ...
    """
    if not any(isinstance(rule, RollPositions) for rule in model.decoder.tables.healings):
        return
    generation = read_json(source / GENERATION) if is_file(source / GENERATION) else {}
    start = generation.get("decoder_start_token_id", model.config.get("decoder_start_token_id"))
    if start is not None and start == model.decoder.config.get("pad_token_id"):
        raise SourceError(
            f"{source}: decoder_start_token_id is the decoder's pad_token_id ({start}): Flax numbers the positions"
            " of such a decoder otherwise than PyTorch, and no order of its position table mends that.\n"
            "pt2tf can convert it; or train with another start token, such as the tokenizer's <s>."
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """The keys of a target's config that differ from the source's, by part; the name of a whole is empty."""

    pytorch_class: str
    """What `architectures` says."""
    config: Config
    """The source's, with the defaults of its class that the target's class does not have: they stay when it is undone,
    so that a change of one of them is seen."""
    changed: Mapping[str, Mapping[str, Json]]
    added: Mapping[str, Mapping[str, Json]]


def standing_in(model: Model, naming: NamingName) -> Standing:
    """Return what a target's config must say; nothing where every class is the family's own."""
    changed: dict[str, dict[str, Json]] = {}
    added: dict[str, dict[str, Json]] = {}
    values = dict(model.config.values)
    for name, part in model.parts.items():
        stand_in = part.stand_in(naming)
        if stand_in is None:
            continue
        own = part.config.values
        keys = {"model_type": stand_in.model_type, **stand_in.settings(part.config)}
        for key, value in keys.items():
            (changed if key in own else added).setdefault(name, {})[key] = value
        stated = {**own, **_defaults(part, keys)}
        values |= {name: stated} if name else stated
    pytorch_class = model.classes["pytorch"]
    whole = model.parts.get("")
    if whole is not None:
        tables = whole.held_as(naming).whole
        pytorch_class = pytorch_class if tables is None else tables.classes["pytorch"]
    return Standing(pytorch_class, replace(model.config, values=values), changed, added)


def _defaults(part: Part, keys: Mapping[str, Json]) -> dict[str, Json]:
    """Return the defaults of a part's own class that the class of another family does not have.

    Args: keys: what the config says beside for that class.
    """
    from ckptconv.compare.configs import stated_defaults, with_defaults

    values = part.config.values
    own = with_defaults(Config(values))
    read = with_defaults(Config({**values, **keys}))
    return {
        key: own.get(key)
        for key in stated_defaults(part.family.model_type)
        if key not in values and key not in keys and own.get(key) != read.get(key)
    }
