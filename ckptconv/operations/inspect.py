"""`inspect`: what a checkpoint is and holds, from its config and headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptconv.checkpoint import Checkpoint, open_checkpoint
from ckptconv.composition import Composition, compose, recorded, unhealed
from ckptconv.errors import PlanError, Problem, SourceError
from ckptconv.plan import make_plan
from ckptconv.rows import Row
from ckptconv.table import DialectName
from ckptconv.tensor import Stored, TensorSpec


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One part of the model: encoder, cross-attention, decoder, head, bridge."""

    name: str
    tensors: int
    parameters: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class TensorLine:
    """One stored tensor."""

    spec: TensorSpec
    part: str
    """Empty where no table knows the tensor."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found."""

    path: Path
    pair: str
    """The two model types; empty for what is no encoder-decoder."""
    model_type: str
    saved_by: str
    """Version of transformers that wrote the config; empty where it does not say."""
    dialect: DialectName
    format: str
    files: tuple[str, ...]
    dtypes: tuple[str, ...]
    parameters: int
    nbytes: int
    parts: tuple[PartSummary, ...]
    tensors: tuple[TensorLine, ...]
    ties: tuple[tuple[str, str, bool], ...]
    """Tensor, the one that it repeats, and whether it is stored."""
    problems: tuple[Problem, ...]
    """What is missing or left over against the tables."""
    refusal: str
    """Why no table can say anything; empty where they can."""


def inspect(path: Path) -> Inspection:
    """Read config and headers and hold them against the tables.

    Raises: SourceError: no checkpoint, or unreadable. What the tables object to is part of the result.
    """
    checkpoint = open_checkpoint(path)
    stored = checkpoint.weights.tensors
    rows: Sequence[Row] = ()
    pair = refusal = ""
    problems: tuple[Problem, ...] = ()
    try:
        composition = compose(unhealed(checkpoint.config))
        rows, pair = composition.rows(), composition.pair
        problems = _problems(checkpoint, composition)
    except SourceError as error:
        refusal = str(error)
    part_of = _parts(rows, checkpoint.weights.dialect)
    return Inspection(
        path=path,
        pair=pair,
        model_type=str(checkpoint.config.get("model_type") or ""),
        saved_by=str(checkpoint.config.get("transformers_version") or ""),
        dialect=checkpoint.weights.dialect,
        format=checkpoint.weights.format.name,
        files=tuple(file.name for file in checkpoint.weights.files),
        dtypes=tuple(sorted({one.spec.dtype for one in stored.values()})),
        parameters=sum(one.spec.numel for one in stored.values()),
        nbytes=sum(one.spec.nbytes for one in stored.values()),
        parts=tuple(_summaries(stored, part_of)),
        tensors=tuple(TensorLine(one.spec, part_of.get(name, "")) for name, one in sorted(stored.items())),
        ties=tuple(_ties(rows, stored, checkpoint.weights.dialect)),
        problems=problems,
        refusal=refusal,
    )


def _problems(checkpoint: Checkpoint, composition: Composition) -> tuple[Problem, ...]:
    """Return what a conversion would object to."""
    dialect = checkpoint.weights.dialect
    try:
        make_plan(
            composition.rows(),
            checkpoint.weights.tensors,
            dialect,
            "pytorch",
            what=str(checkpoint.path),
            healed_source=recorded(composition, checkpoint.config),
        )
    except PlanError as error:
        return error.problems
    return ()


def _parts(rows: Sequence[Row], dialect: DialectName) -> Mapping[str, str]:
    return {name: row.module.part for row in rows if dialect in row.spellings for name in row.spellings[dialect].names}


def _summaries(stored: Mapping[str, Stored], part_of: Mapping[str, str]) -> Iterator[PartSummary]:
    """Add up each part, in the order of the data flow; what no table knows comes last."""
    order = ("encoder", "bridge", "decoder", "cross-attention", "head", "")
    for part in order:
        specs = [one.spec for name, one in stored.items() if part_of.get(name, "") == part]
        if specs:
            parameters, nbytes = sum(spec.numel for spec in specs), sum(spec.nbytes for spec in specs)
            yield PartSummary(part or "unknown", len(specs), parameters, nbytes)


def _ties(rows: Sequence[Row], stored: Mapping[str, Stored], dialect: DialectName) -> Iterator[tuple[str, str, bool]]:
    by_key = {row.key: row for row in rows}
    for row in rows:
        if row.tied_to and row.module.tied and dialect in row.spellings:
            name, other = (one.spellings[dialect].names[0] for one in (row, by_key[row.tied_to]))
            yield name, other, name in stored
