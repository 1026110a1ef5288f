"""Whose positions a Flax checkpoint's tables count: what its weights cannot say, and so somebody has to.

PyTorch numbers the positions of RoBERTa-like models from `pad_token_id + 1`, Flax's composite class from 0. A
checkpoint trained in Flax therefore has the row of its first position at the top of the table; one that `from_pt=True`
made has it where PyTorch has it. The shapes are the same, and `pt2flax` alone writes down what it did.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ckptconv.base.errors import SourceError, require_choice
from ckptconv.schema.fixes import Healed, RollPositions
from ckptconv.schema.model import Model, applied_fixes, never_healed
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.transfer.manifest import MANIFEST, file_digest, read_manifest

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
    return tuple(fix for fix in model.fixes() if fix.module in rolled)


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
    if not (checkpoint.path / MANIFEST).is_file():
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
