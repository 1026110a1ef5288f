"""A checkpoint's own tensors that must hold the same bytes, and tensors that differ from what a plan makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ckptconv.base.errors import PlanError, Problem
from ckptconv.binding.moves import Constant, Equality
from ckptconv.binding.ops import Fill
from ckptconv.compare.relation import Figures, Relation
from ckptconv.compare.stream import compare_stream
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.transfer.drawing import drawn
from ckptconv.transfer.pieces import OpenFiles, Pieces


@dataclass(frozen=True, slots=True)
class WeightDifference:
    """How a stored tensor differs from what it should be."""

    name: str
    """As the target spells it."""
    source: str
    """The tensor that it comes from, as the source spells it; empty where the values are made."""
    relation: Relation
    row: SchemaTensor = field(repr=False)
    """What the tables say of it."""

    @property
    def figures(self) -> Figures:
        """How far the two are apart."""
        assert self.relation.figures is not None
        return self.relation.figures

    @property
    def differing(self) -> int:
        """Elements whose bits differ."""
        return self.figures.differing

    @property
    def numel(self) -> int:
        """Elements compared."""
        return self.figures.numel

    @property
    def worst(self) -> float:
        """Largest absolute difference; infinite where a NaN or an infinity is on one side only."""
        return self.figures.worst

    def __str__(self) -> str:
        return f"{self.relation}; {self.figures}"


def check_constants(constants: Sequence[Constant]) -> None:
    """Compare what a target's class computes with what a checkpoint holds of it.

    Raises: PlanError: a tensor holds other values, which the target has no place for.
    """
    problems, path = [], ""
    with OpenFiles() as files:
        for constant in constants:
            stored, path = constant.stored, str(constant.stored.path)
            fill = Fill(why=constant.why, formula=constant.formula)
            expected = (memoryview(piece).cast("B") for piece in drawn(fill, stored.spec))
            streamed = compare_stream(expected, stored.spec.dtype, stored, files)
            if not streamed.same:
                detail = f"{streamed.sums.figures}, from what the class computes: {constant.why}"
                problems.append(Problem("cannot hold", stored.spec.name, detail))
    if problems:
        raise PlanError(path, problems)


def check_equal(equalities: Sequence[Equality]) -> None:
    """Compare the pairs that must hold the same bytes.

    Raises: PlanError: some do not; the message says how many elements differ, and by how much.
    """
    problems, path = [], ""
    with OpenFiles() as files:
        for pair in equalities:
            path = str(pair.second.path)
            if pair.first.spec.dtype != pair.second.spec.dtype:
                detail = f"{pair.second.spec.dtype}, but {pair.first.spec.name} is {pair.first.spec.dtype}; {pair.why}"
                problems.append(Problem(pair.kind, pair.second.spec.name, detail))
                continue
            if replace(pair.first, spec=pair.second.spec) == pair.second:
                continue  # the same bytes, read in the same way
            expected = (memoryview(piece).cast("B") for piece in Pieces(files).plain(pair.first))
            streamed = compare_stream(expected, pair.first.spec.dtype, pair.second, files)
            if not streamed.same:
                detail = f"{streamed.sums.figures}, from {pair.first.spec.name}; {pair.why}"
                problems.append(Problem(pair.kind, pair.second.spec.name, detail))
    if problems:
        raise PlanError(path, problems)
