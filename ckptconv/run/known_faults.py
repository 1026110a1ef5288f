"""What a checkpoint's own class is known to get wrong with it: there is nothing to judge a target by."""

from __future__ import annotations

from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, applied_fixes


def generation_faults(model: Model, naming: str, config: Config) -> tuple[str, ...]:
    """Return why a source's class cannot generate with its weights, in sentences; () where it can.

    Flax's `encode` passes positions as token types, and rows beyond the end of a table are NaN. `pt2flax` repeats
    a row for them, and records it; a model that was trained in Flax has no such rows.

    Args: model: as it was before any fix. config: with the record of the fixes that it got.
    """
    if naming != "flax":
        return ()
    applied = applied_fixes(model, config)
    return tuple(
        f"generation is not compared: `encode` of the source's class passes positions as token types, for which"
        f" {fix.module} has too few rows (a known fault of Flax's class, docs/support.md)"
        for fix in model.fixes()
        if "repeated_row_0" in fix.record and fix not in applied
    )
