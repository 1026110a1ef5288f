"""`inspect`: what a checkpoint is and holds, from its config and headers; with `stats`, from its values too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ckptconv.base.errors import PlanError, SourceError
from ckptconv.base.strict_json import Json
from ckptconv.binding.moves import Equality
from ckptconv.schema.config import Config
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint
from ckptconv.stores.companions import CODE_KEYS
from ckptconv.stores.formats import formats
from ckptconv.stores.hub import resolve
from ckptconv.stores.tensor import Stored
from ckptconv.verbs.inspection import Inspection, PartSummary, SideSummary, Target, TensorLine, Tie
from ckptconv.verbs.planning import Way, planned
from ckptconv.verbs.subject import ROLES, Subject, alone, is_one_model, subject

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
    checkpoint = open_checkpoint(resolve(path))
    known = subject(checkpoint)
    targets, equalities = _targets(checkpoint, known)
    result = _summary(checkpoint, known, targets)
    if not stats:
        return result
    from ckptconv.verbs.value_checks import with_values  # imports numpy, which headers do not need

    return with_values(result, checkpoint, known, equalities, progress)


def _summary(checkpoint: Checkpoint, known: Subject, targets: tuple[Target, ...]) -> Inspection:
    config, weights = checkpoint.config, checkpoint.weights
    stored = weights.tensors
    part_of = {name: row.module.part for name, row in known.names.items()}
    return Inspection(
        path=checkpoint.path,
        kind=known.kind,
        pair=known.pair,
        model_type=str(config.get("model_type") or ""),
        saved_by=str(config.get("transformers_version") or ""),
        naming=weights.naming,
        format=weights.format.name,
        files=tuple(file.name for file in weights.files),
        file_bytes=sum(file.stat().st_size for file in weights.files),
        dtypes=tuple(sorted({one.spec.dtype for one in stored.values()})),
        parameters=sum(one.spec.numel for one in stored.values()),
        nbytes=sum(one.spec.nbytes for one in stored.values()),
        sides=tuple(_sides(config, known)),
        parts=tuple(_parts(stored, part_of)),
        tensors=tuple(
            TensorLine(one.spec, part_of.get(name, ""), _layer(name), one.path.name)
            for name, one in sorted(stored.items())
        ),
        ties=tuple(_ties(known, checkpoint)),
        problems=known.problems,
        unused=known.unused,
        refusal=known.refusal,
        code_hooks=tuple(_code_hooks(checkpoint)),
        targets=targets,
    )


def _sides(config: Config, known: Subject) -> Iterator[SideSummary]:
    """Return what the configs say of each side, read with the family's names and defaults where it has a table."""
    found: dict[str, Config] = {role: side.config for role, side in known.sides.items()}
    if not found:
        found = {
            role: config.part(role) for role in ROLES if isinstance(config.get(role), dict)
        } or {"model": config}
    for role, one in found.items():
        sizes = [
            _whole(one.get(key))
            for key in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
        ]
        yield SideSummary(role, str(one.get("model_type") or "unknown"), *sizes)


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parts(stored: Mapping[str, Stored], part_of: Mapping[str, str]) -> Iterator[PartSummary]:
    """Add up each part."""
    for part in PARTS:
        specs = [one.spec for name, one in stored.items() if part_of.get(name, "") == part]
        if specs:
            parameters, nbytes = (
                sum(spec.numel for spec in specs),
                sum(spec.nbytes for spec in specs),
            )
            yield PartSummary(part or "unknown", len(specs), parameters, nbytes)


def _layer(name: str) -> int | None:
    """Return the first number among a name's levels."""
    return next((int(one) for one in LEVELS.split(name) if one.isdecimal() and len(one) < 6), None)


def _ties(known: Subject, checkpoint: Checkpoint) -> Iterator[Tie]:
    """Return the pairs that the config makes one tensor, under the names that the file uses, or would use."""
    held = {
        row.key: name for name, row in known.names.items() if name in checkpoint.weights.tensors
    }
    possible: dict[str, str] = {}
    for name, row in known.names.items():
        possible.setdefault(row.key, name)
    for row in known.rows:
        if row.shares and row.tied_to in possible and row.key in possible:
            name, other = (held.get(key, possible[key]) for key in (row.key, row.tied_to))
            yield Tie(name, other, row.key in held and row.tied_to in held)


def _code_hooks(checkpoint: Checkpoint) -> Iterator[str]:
    """Name what would make transformers fetch or run code; ckptconv acts on none of it."""
    yield from sorted(
        f"config.json: {where}" for where in _hooks(dict(checkpoint.config.values), "")
    )
    yield from sorted(entry.name for entry in checkpoint.path.glob("*.py"))


def _hooks(value: Json, where: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _hooks(one, f"{where}[{number}]")
    elif isinstance(value, dict):
        for key, one in value.items():
            below = f"{where}.{key}" if where else key
            yield from [below] if key in CODE_KEYS else _hooks(one, below)


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
    checkpoint: Checkpoint, known: Subject
) -> tuple[tuple[Target, ...], dict[str, tuple[Equality, ...]]]:
    """Ask each verb for its plan. Returns also what each must compare before it writes, by verb."""
    if is_one_model(checkpoint):
        return tuple(_as_part(checkpoint, alone(checkpoint, role), role) for role in ROLES), {}
    found, equalities = [], {}
    for verb, way in _ways().items():
        if known.kind == "pair" and way.source == checkpoint.weights.naming:
            try:
                made = planned(checkpoint, way)
            except PlanError as error:
                count = len(error.problems)
                found.append(
                    Target(verb, f"{count} problem{'s' if count != 1 else ''} with its tensors")
                )
                continue
            except SourceError as error:
                found.append(Target(verb, str(error)))
                continue
            equalities[verb] = made.plan.equalities
            found.append(Target(verb, "", _conditions(made.plan.equalities), made.plan.notices))
    return tuple(found), equalities


def _as_part(checkpoint: Checkpoint, known: Subject, role: str) -> Target:
    """Say whether `join` would take one model on a side."""
    verb = f"join (as {role})"
    if known.refusal:
        return Target(verb, known.refusal)
    if checkpoint.weights.naming != "pytorch":
        return Target(
            verb, f"join reads PyTorch's weights; these are {checkpoint.weights.naming}'s."
        )
    if known.problems:
        first = f"{known.problems[0].kind} {known.problems[0].name}"
        more = f" and {len(known.problems) - 1} more" if len(known.problems) > 1 else ""
        return Target(verb, f"{first}{more}")
    return Target(verb, notices=known.anew)


def _conditions(equalities: tuple[Equality, ...]) -> tuple[str, ...]:
    return tuple(
        f"{one.second.spec.name} must equal {one.first.spec.name}: {one.why}" for one in equalities
    )
