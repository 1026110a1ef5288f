"""All tensors of two checkpoints, sorted: what is compared, and what only one of the two has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.binding.moves import Fill, Move
from ckptconv.compare.comparison import Case
from ckptconv.compare.relation import Kind, Relation
from ckptconv.schema.tensors import Row
from ckptconv.schema.vocabulary import Module
from ckptconv.stores.tensor import Stored
from ckptconv.verbs.pairing import Held, paired

Letter: TypeAlias = Literal["A", "B"]
UNKNOWN = "unknown"
"""The part of a tensor that no table knows."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A tensor that has nothing to be compared with."""

    row: Row
    first: Stored | None
    second: Stored | None
    relation: Relation


@dataclass(slots=True)
class Aligned:
    """What is compared, and what is not."""

    cases: list[Case] = field(default_factory=list)
    alone: list[Alone] = field(default_factory=list)
    zeros: dict[str, Letter] = field(default_factory=dict)
    """Key of a tensor whose absence means zeros, and which is compared with those -> who has it."""
    absent: list[str] = field(default_factory=list)
    """Keys that neither has, and the config asks for."""
    homeless: list[str] = field(default_factory=list)
    """Keys that one has and the other's framework has no place for."""

    @property
    def reordered(self) -> list[str]:
        """Keys of the tables whose rows move to be compared, since one side is healed and the other is not."""
        return [case.move.row.key for case in self.cases if case.move.rows]

    @property
    def notices(self) -> tuple[str, ...]:
        """Say what was not compared and is no difference."""
        said = {
            "in neither of the two, though the config asks for it": self.absent,
            "left out, since the other framework has no place for it": self.homeless,
        }
        return tuple(
            f"{keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}: {why}"
            for why, keys in said.items()
            if keys
        )


def align(one: Held, other: Held) -> Aligned:
    """Sort the tensors of two checkpoints.

    Raises: SourceError: one is an encoder, the other a decoder.
    """
    sides = {held.side for held in (one, other) if held.side}
    if len(sides) > 1:
        raise SourceError(
            f"{one.path} is a {one.what}, {other.path} a {other.what}: there is nothing to compare."
        )
    side = sides.pop() if sides else ""
    aligned = Aligned()
    for key, row in {**other.rows, **one.rows}.items():
        if row.module.presence != "dropped" and key.startswith(side):
            _sort(key, row, one, other, aligned)
    _sort_unknown(one, other, side, aligned)
    return aligned


def _sort(key: str, row: Row, one: Held, other: Held, aligned: Aligned) -> None:
    """Sort one row."""
    found = one.source(key), other.source(key)
    if key not in one.own and key not in other.own:
        if not any(found) and row.module.presence == "required" and not row.module.tied:
            aligned.absent.append(key)
    elif all(found) and key in one.rows and key in other.rows:
        case = paired(key, one, other)
        if case:
            aligned.cases.append(case)
        else:
            aligned.alone.append(_misshapen(row, one.own.get(key), other.own.get(key)))
    else:
        _sort_one_sided(row, one, other, aligned)


def _sort_one_sided(row: Row, one: Held, other: Held, aligned: Aligned) -> None:
    """Sort a row that one of the two has."""
    sides: tuple[tuple[Letter, Held, Held], ...] = (("A", one, other), ("B", other, one))
    letter, has, lacks = next(side for side in sides if row.key in side[1].own)
    stored = has.own[row.key]
    if row.key in lacks.rows and lacks.naming not in row.spellings:
        aligned.homeless.append(row.key)
    elif row.key in lacks.rows and row.module.presence == "zeros":
        aligned.zeros[row.key] = letter
        aligned.cases.append(Case(Move(row, stored.spec, None, Fill(why=row.module.why)), stored))
    else:
        first, second = (stored, None) if letter == "A" else (None, stored)
        aligned.alone.append(Alone(row, first, second, only_in(letter, stored)))


def _sort_unknown(one: Held, other: Held, side: str, aligned: Aligned) -> None:
    """Compare tensors that no table knows by their names alone, where both speak one naming."""
    for name in sorted({*one.unknown, *other.unknown}):
        first, second = one.unknown.get(name), other.unknown.get(name)
        if not name.startswith(side):
            continue
        row = Row(name, {}, {}, Module("parameter", {}, {}, ("value",), part=UNKNOWN))
        if first is None or second is None or one.naming != other.naming:
            aligned.alone += _each_alone(row, first, second)
        elif (first.spec.shape, first.spec.dtype) != (second.spec.shape, second.spec.dtype):
            aligned.alone.append(_misshapen(row, first, second))
        else:
            aligned.cases.append(Case(Move(row, second.spec, first), second))


def _each_alone(row: Row, first: Stored | None, second: Stored | None) -> Iterable[Alone]:
    if first:
        yield Alone(row, first, None, only_in("A", first))
    if second:
        yield Alone(row, None, second, only_in("B", second))


def _misshapen(row: Row, first: Stored | None, second: Stored | None) -> Alone:
    """Return two tensors of one name that cannot be compared element by element."""
    shapes = (
        f"{one.spec.dtype} {list(one.spec.shape)}" if one else "its twin" for one in (first, second)
    )
    return Alone(row, first, second, Relation("shape", " in A, ".join(shapes) + " in B"))


def only_in(letter: Letter, stored: Stored) -> Relation:
    """Return the relation of a tensor that the other checkpoint lacks."""
    kinds: Mapping[Letter, Kind] = {"A": "only in A", "B": "only in B"}
    return Relation(
        kinds[letter], f"only in {letter}: {stored.spec.dtype} {list(stored.spec.shape)}"
    )
