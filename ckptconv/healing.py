"""What Flax's composite class gets wrong, mended from the weights' side.

`FlaxEncoderDecoderModel` (transformers 4.57.6, modeling_flax_encoder_decoder.py) numbers positions
0, 1, 2 ... where RoBERTa-like models count from `pad_token_id + 1`, and its `encode` passes these
positions in the place of the token types. Both are mended by moving rows of one table; a healing is
therefore a list of row ranges, which can be undone exactly. What was healed is recorded in the
target's config.json under `ckptconv`, so that it survives `save_pretrained` of the Flax class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ckptconv.config import Config, Json


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` to `stop` (exclusive) of a table, written `times` times in a row."""

    start: int
    stop: int
    times: int = 1


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

    @property
    def count(self) -> int:
        """Rows of the healed table."""
        return sum((one.stop - one.start) * one.times for one in self.rows)


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
        """Bring the row of the first position to the top; the rows above it go to the end."""
        rows, by = config.size("max_position_embeddings"), config.size("pad_token_id") + 1
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
            self.module, ranges, why, {"repeated_row_0": positions}, {"type_vocab_size": positions + types - 1}
        )
