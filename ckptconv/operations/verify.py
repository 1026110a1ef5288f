"""`verify`: do two checkpoints hold the same model, and compute the same?

First the weights, bit for bit through the tables, without any framework. Then the outputs: the real
classes run the same probes, each framework in a process of its own, and the target is judged by the
source's own rounding error (see `forward.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from ckptconv.checkpoint import Checkpoint, open_checkpoint, read_config, read_weights
from ckptconv.composition import Composition, compose, recorded
from ckptconv.errors import Problem
from ckptconv.evidence.forward import compare_forward
from ckptconv.evidence.yardstick import ForwardReport
from ckptconv.moves import Move, Plan
from ckptconv.pieces import OpenFiles, Pieces
from ckptconv.plan import make_plan
from ckptconv.table import DialectName
from ckptconv.tensor import FLOATS, Stored
from ckptconv.weights import WeightDifference, check_equal, compare_move

Level: TypeAlias = Literal["weights", "outputs"]


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What comparing every tensor through the tables showed."""

    tensors: int
    nbytes: int
    """Bytes compared."""
    differences: tuple[WeightDifference, ...]
    problems: tuple[Problem, ...]
    """Tensors that the target lacks, has too many, or has in another shape."""
    notices: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """True where every tensor is there and every bit is right; never for nothing compared."""
        return self.tensors > 0 and not self.differences and not self.problems


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict, and what it rests on."""

    source: Path
    target: Path
    pair: str
    dialect: DialectName
    format: str
    weights: WeightsReport
    outputs: ForwardReport | None
    """None where only the weights were asked for."""

    @property
    def matches(self) -> bool:
        """True where everything that was asked for matches."""
        return self.weights.matches and (self.outputs is None or self.outputs.matches)


def verify(
    source: Path,
    target: Path,
    level: Level = "outputs",
    *,
    seed: int = 0,
    texts: Sequence[str] = (),
    timeout: float | None = None,
) -> Verification:
    """Compare a PyTorch checkpoint with a converted one.

    Args: texts: sentences to generate for on both sides, with the checkpoint's own tokenizer.
    timeout: seconds that the frameworks may take; None waits.
    Raises: SourceError: one of the two is no checkpoint. FrameworkError: a framework is missing or died.
    """
    one = open_checkpoint(source, "pytorch")
    composition = compose(one.config)
    other = Checkpoint(target, read_config(target), read_weights(target))
    weights = compare_weights(one, composition, other)
    outputs = None
    if level == "outputs":
        outputs = compare_forward(
            composition, source, target, other.weights.dialect, seed=seed, texts=texts, timeout=timeout
        )
    form = other.weights.format.name
    return Verification(source, target, composition.pair, other.weights.dialect, form, weights, outputs)


def compare_weights(source: Checkpoint, composition: Composition, target: Checkpoint) -> WeightsReport:
    """Compare every target tensor with what the tables make of the source, bit for bit.

    Raises: PlanError: the source itself is incomplete, or contradicts its config.
    """
    plan = make_plan(
        composition.rows(),
        source.weights.tensors,
        source.weights.dialect,
        target.weights.dialect,
        what=str(source.path),
        healings=recorded(composition, target.config),
    )
    check_equal(plan.equalities)
    found = target.weights.tensors
    problems = tuple(sorted(_misfits(plan, found)))
    wrong = {problem.name for problem in problems}
    moves = [_as_stored(move, found[move.target.name]) for move in plan.moves if move.target.name not in wrong]
    with OpenFiles() as files:
        pieces = Pieces(files)
        compared = [compare_move(pieces, files, move, found[move.target.name]) for move in moves]
    differences = tuple(one for one in compared if one)
    nbytes = sum(move.target.nbytes for move in moves)
    return WeightsReport(len(moves), nbytes, differences, problems, (*plan.notices, *_cast_notices(moves)))


def _misfits(plan: Plan, found: Mapping[str, Stored]) -> Iterator[Problem]:
    """Compare names, shapes and kinds of dtype."""
    planned = {move.target.name: move.target for move in plan.moves}
    for name in planned.keys() - found.keys():
        yield Problem("missing", name, f"expected {list(planned[name].shape)}")
    for name in found.keys() - planned.keys():
        yield Problem("unexpected", name, f"{found[name].spec.dtype} {list(found[name].spec.shape)}")
    for name in planned.keys() & found.keys():
        spec, expected = found[name].spec, planned[name]
        if spec.shape != expected.shape:
            yield Problem("shape", name, f"expected {list(expected.shape)}, found {list(spec.shape)}")
        elif spec.dtype not in FLOATS:
            yield Problem("dtype", name, f"expected {expected.dtype}, found {spec.dtype}")


def _as_stored(move: Move, found: Stored) -> Move:
    """Return the move that casts to the dtype in which the target is stored."""
    return replace(move, target=replace(move.target, dtype=found.spec.dtype))


def _cast_notices(moves: Sequence[Move]) -> Iterator[str]:
    pairs = {(move.source.spec.dtype, move.target.dtype) for move in moves if move.source}
    for kept, stored in sorted(pairs):
        if kept != stored:
            yield f"stored as {stored} where the source has {kept}: compared with the cast of the source"
