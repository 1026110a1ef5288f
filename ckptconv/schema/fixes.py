"""What Flax's composite class gets wrong, mended from the weights' side.

`FlaxEncoderDecoderModel` (transformers 4.57.6, modeling_flax_encoder_decoder.py) numbers positions
0, 1, 2 ... where RoBERTa-like models count from `pad_token_id + 1`, and its `encode` passes these
positions in the place of the token types. Both are mended by moving rows of one table; a healing is
therefore a list of row ranges, which can be undone exactly. What was healed is recorded in the
target's config.json under `ckptconv`, so that it survives `save_pretrained` of the Flax class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config

RECORD = "ckptconv"
"""Config key under which the target says what was healed, and which settings were added to it."""


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` to `stop` (exclusive) of a table, written `times` times in a row."""

    start: int
    stop: int
    times: int = 1


def inverse_rows(ranges: Sequence[RowRange]) -> tuple[RowRange, ...]:
    """Return the ranges that give a table back of which `ranges` were taken: the first copy of each row."""
    first: dict[int, int] = {}
    position = 0
    for run in ranges:
        for offset in range(run.stop - run.start):
            first.setdefault(run.start + offset, position + offset)
        position += (run.stop - run.start) * run.times
    inverse: list[RowRange] = []
    for row in range(len(first)):
        at = first[row]
        if inverse and inverse[-1].stop == at:
            inverse[-1] = RowRange(inverse[-1].start, at + 1)
        else:
            inverse.append(RowRange(at, at + 1))
    return tuple(inverse)


@dataclass(frozen=True, slots=True)
class Healed:
    """One healing, applied to the sizes of one config."""

    module: str
    """PyTorch path of the embedding whose rows move."""
    rows: tuple[RowRange, ...]
    why: str
    record: Mapping[str, Json]
    """What is written down, enough to undo it."""
    config: Mapping[str, Json]
    """Config keys that change with it."""
    trained: bool = field(default=False, compare=False)
    """True where training in Flax left the table so, as the user says: no `pt2flax` did it, and nothing records it."""

    @property
    def undoing(self) -> str:
        """What the way back does, in words."""
        if self.trained:
            return "rows moved to where PyTorch counts its positions, as a table that was trained in Flax needs"
        return "healing undone"

    @property
    def entry(self) -> dict[str, Json]:
        """The line in the target's config.json."""
        return {"tensor": f"{self.module}.weight", **self.record}

    @property
    def count(self) -> int:
        """Rows of the healed table."""
        return sum((run.stop - run.start) * run.times for run in self.rows)

    @property
    def inverse(self) -> tuple[RowRange, ...]:
        """Ranges of the healed table's rows that give the original back."""
        return inverse_rows(self.rows)

    @property
    def repeated(self) -> tuple[RowRange, ...]:
        """Runs of the healed table's rows that are copies of one row, and must be equal to be undone."""
        runs, position = [], 0
        for run in self.rows:
            stop = position + (run.stop - run.start) * run.times
            if run.times > 1:
                runs.append(RowRange(position, stop))
            position = stop
        return tuple(runs)


def abreast(
    first_ranges: Sequence[RowRange], second_ranges: Sequence[RowRange]
) -> Iterator[tuple[RowRange, RowRange]]:
    """Return two lists of ranges of equal length in pairs, cut at each other's ends."""
    left, right = list(reversed(first_ranges)), list(reversed(second_ranges))
    while left and right:
        first, second = left.pop(), right.pop()
        count = min(first.stop - first.start, second.stop - second.start)
        yield (
            RowRange(first.start, first.start + count),
            RowRange(second.start, second.start + count),
        )
        if first.start + count < first.stop:
            left.append(RowRange(first.start + count, first.stop))
        if second.start + count < second.stop:
            right.append(RowRange(second.start + count, second.stop))


class Healing(Protocol):
    """A rule that a family declares."""

    def heal(self, config: Config) -> Healed | None:
        """Apply the rule to one config; None where there is nothing to mend."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class RollPositions:
    """Positions that PyTorch counts from `pad_token_id + 1`, and the Flax wrapper from 0."""

    module: str

    def heal(self, config: Config) -> Healed:
        """Bring the row of the first position to the top; the rows above it go to the end.

        Raises: SourceError: the table has no row for the first position.
        """
        rows, by = config.size("max_position_embeddings"), config.size("pad_token_id") + 1
        if by >= rows:
            raise SourceError(
                f"{config.where}: {rows} positions leave none after 'pad_token_id' {by - 1}"
            )
        ranges = (RowRange(by, rows), RowRange(0, by))
        why = f"rolled up by {by} rows, since the Flax wrapper numbers positions from 0"
        return Healed(self.module, ranges, why, {"rolled_rows": by}, {})


@dataclass(frozen=True, slots=True)
class RepeatTokenType:
    """Token types in whose place `encode` passes positions, so that every position needs type 0."""

    module: str

    def heal(self, config: Config) -> Healed | None:
        """Repeat the row of type 0 for every position; the rows of the other types follow."""
        positions, types = config.size("max_position_embeddings"), config.size("type_vocab_size")
        if types == 0 or positions == 0:
            return None
        ranges = (RowRange(0, 1, positions), RowRange(1, types))
        why = f"row 0 repeated {positions} times, since `encode` passes positions as token types"
        return Healed(
            self.module,
            ranges,
            why,
            {"repeated_row_0": positions, "type_vocab_size": types},
            {"type_vocab_size": positions + types - 1},
        )
