"""`inspect`: what a checkpoint is and holds, from its config and headers; with `stats`, from its values too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ckptconv.base.errors import PlanError, SourceError
from ckptconv.base.strict_json import Json
from ckptconv.binding.bind import Binding
from ckptconv.binding.identify import Identity, identify, identify_part, is_one_part
from ckptconv.binding.moves import Equality
from ckptconv.schema.config import Config
from ckptconv.schema.model import ROLES, Model
from ckptconv.stores.artefact import artefact_notices
from ckptconv.stores.checkpoint import Checkpoint, open_any
from ckptconv.stores.condition import conditions
from ckptconv.stores.formats import formats
from ckptconv.stores.hub import resolve
from ckptconv.stores.leading_keys import leads
from ckptconv.stores.tensor import Stored
from ckptconv.verbs.inspection import Inspection, PartSummary, SideSummary, Target, TensorLine, Tie
from ckptconv.verbs.planning import Way, plan_bound, require_parts
from ckptconv.verbs.positions import is_ambiguous, is_written_as_pytorch, question

PARTS = ("encoder", "bridge", "decoder", "cross-attention", "head", "")
"""In the order of the data flow; what no table knows comes last."""
LEVELS = re.compile(r"_\._|[./]")
"""What stands between the levels of a name, in every naming."""


def inspect(
    path: Path | str,
    *,
    stats: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inspection:
    """Read config and headers and hold them against the tables.

    Args: stats: read every value too. progress: called with bytes done and bytes to do.
    Raises: SourceError: no checkpoint, or unreadable. What the tables object to is part of the result.
    """
    checkpoint = open_any(resolve(path))
    identity = identify(checkpoint)
    targets, equalities = _targets(checkpoint, identity)
    result = _summary(checkpoint, identity, targets)
    if not stats:
        return result
    from ckptconv.verbs.value_checks import with_values  # imports numpy, which headers do not need

    return with_values(result, checkpoint, identity, equalities, progress)


def _summary(checkpoint: Checkpoint, identity: Identity, targets: tuple[Target, ...]) -> Inspection:
    config, weights = checkpoint.config, checkpoint.weights
    stored, binding = weights.tensors, identity.binding
    part_of = {
        tensor.spec.name: binding.tensors[key].module.part for key, tensor in binding.stored.items()
    }
    return Inspection(
        path=checkpoint.path,
        kind=identity.kind,
        pair=identity.label,
        model_type=str(config.get("model_type") or ""),
        saved_by=str(config.get("transformers_version") or ""),
        naming=weights.naming,
        format=weights.format.name,
        reading=(
            *weights.notices,
            *checkpoint.config_notices,
            *artefact_notices([checkpoint.path]),
        ),
        files=tuple(file.name for file in weights.files),
        file_bytes=sum(file.stat().st_size for file in weights.files),
        dtypes=tuple(sorted({tensor.spec.dtype for tensor in stored.values()})),
        parameters=sum(tensor.spec.numel for tensor in stored.values()),
        nbytes=sum(tensor.spec.nbytes for tensor in stored.values()),
        sides=tuple(_sides(config, identity)),
        parts=tuple(_parts(stored, part_of)),
        tensors=tuple(
            TensorLine(tensor.spec, part_of.get(name, ""), _layer(name), tensor.path.name)
            for name, tensor in sorted(stored.items())
        ),
        ties=tuple(_ties(binding)),
        problems=identity.problems,
        unused=identity.unused,
        refusal=identity.refusal,
        code_hooks=tuple(_code_hooks(checkpoint)),
        targets=targets,
    )


def _sides(config: Config, identity: Identity) -> Iterator[SideSummary]:
    """Return what the configs say of each part, read with the family's names and defaults where it has a table."""
    configs = {name: part.config for name, part in identity.parts.items()}
    if not configs:
        nested = {
            str(role): config.part(role) for role in ROLES if isinstance(config.get(role), dict)
        }
        configs = nested or {"model": config}
    for role, section in configs.items():
        sizes = [
            _whole(section.get(key))
            for key in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
        ]
        yield SideSummary(role or "model", str(section.get("model_type") or "unknown"), *sizes)


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parts(stored: Mapping[str, Stored], part_of: Mapping[str, str]) -> Iterator[PartSummary]:
    """Add up each part."""
    for part in PARTS:
        specs = [tensor.spec for name, tensor in stored.items() if part_of.get(name, "") == part]
        if specs:
            parameters, nbytes = (
                sum(spec.numel for spec in specs),
                sum(spec.nbytes for spec in specs),
            )
            yield PartSummary(part or "unknown", len(specs), parameters, nbytes)


def _layer(name: str) -> int | None:
    """Return the first number among a name's levels."""
    return next(
        (int(level) for level in LEVELS.split(name) if level.isdecimal() and len(level) < 6), None
    )


def _ties(binding: Binding) -> Iterator[Tie]:
    """Return the pairs that the config makes one tensor, under the names that the file uses, or would use."""
    names = {key: possible[0] for key, possible in binding.names.items() if possible}
    names |= {key: stored.spec.name for key, stored in binding.stored.items()}
    for key, tensor in binding.tensors.items():
        if tensor.shares and tensor.tied_to in names and key in names:
            twice = key in binding.stored and tensor.tied_to in binding.stored
            yield Tie(names[key], names[tensor.tied_to], twice)


def _code_hooks(checkpoint: Checkpoint) -> Iterator[str]:
    """Name what would make transformers fetch or run code, or read another file; ckptconv acts on none of it."""
    config = dict(checkpoint.config.values)
    yield from sorted(f"config.json: {lead.place}" for lead in leads("config.json", config))
    yield from sorted(entry.name for entry in checkpoint.path.glob("*.py"))


def _ways() -> dict[str, Way]:
    """Return every verb that converts a whole pair, with the format that it writes by default."""
    safetensors, hdf5, msgpack = (formats()[name] for name in ("safetensors", "hdf5", "msgpack"))
    return {
        "split": Way("pytorch", "pytorch", safetensors),
        "normalize": Way("pytorch", "pytorch", safetensors),
        "pt2tf": Way("pytorch", "tf", hdf5),
        "pt2flax": Way("pytorch", "flax", msgpack, heal=True),
        "tf2pt": Way("tf", "pytorch", safetensors),
        "flax2pt": Way("flax", "pytorch", safetensors),
    }


def _targets(
    checkpoint: Checkpoint, identity: Identity
) -> tuple[tuple[Target, ...], dict[str, tuple[Equality, ...]]]:
    """Ask each verb for its plan. Returns also what each must compare before it writes, by verb."""
    if is_one_part(checkpoint):
        roles = (
            (role, identity if identity.kind == role else identify_part(checkpoint, role))
            for role in ROLES
        )
        return tuple(_as_part(checkpoint, part, role) for role, part in roles), {}
    targets: list[Target] = []
    equalities: dict[str, tuple[Equality, ...]] = {}
    for verb, way in _ways().items():
        if identity.model is not None and way.source == checkpoint.weights.naming:
            target, pairs = _target(checkpoint, identity.model, identity.binding, verb, way)
            targets.append(target)
            if target.converts:
                equalities[verb] = pairs
    return tuple(targets), equalities


def _target(
    checkpoint: Checkpoint, model: Model, binding: Binding, verb: str, way: Way
) -> tuple[Target, tuple[Equality, ...]]:
    """Ask one verb for its plan."""
    for condition in conditions(checkpoint.config, checkpoint.weights.tensors):
        return Target(verb, condition), ()
    if (
        way.source == "flax"
        and is_ambiguous(model, checkpoint)
        and not is_written_as_pytorch(checkpoint)
    ):
        return Target(verb, question(model, checkpoint.path)), ()
    try:
        if verb == "split":
            require_parts(model)
        plan = plan_bound(checkpoint, model, binding, way).plan
    except PlanError as error:
        count = len(error.problems)
        return Target(verb, f"{count} problem{'s' if count != 1 else ''} with its tensors"), ()
    except SourceError as error:
        return Target(verb, str(error)), ()
    return Target(verb, "", _conditions(plan.equalities), plan.notices), plan.equalities


def _as_part(checkpoint: Checkpoint, identity: Identity, role: str) -> Target:
    """Say whether `join` would take one model in a role."""
    verb = f"join (as {role})"
    if identity.refusal:
        return Target(verb, identity.refusal)
    problems = identity.problems
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return Target(verb, f"{problems[0].kind} {problems[0].name}{more}")
    new = (
        f"{section}: {count} tensors would be drawn anew, or the cross-attention copied"
        " (--cross-attention self)"
        for section, count in identity.new_tensors().items()
    )
    return Target(verb, notices=tuple(new))


def _conditions(equalities: tuple[Equality, ...]) -> tuple[str, ...]:
    return tuple(
        f"{pair.second.spec.name} must equal {pair.first.spec.name}: {pair.why}"
        for pair in equalities
    )
