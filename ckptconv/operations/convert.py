"""`pt2tf` and `pt2flax`: a PyTorch checkpoint of the whole pair, as the other framework's class loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ckptconv.checkpoint import open_checkpoint
from ckptconv.companions import copy_companions, left_behind, whole_config, write_config
from ckptconv.composition import compose
from ckptconv.formats import Format, formats
from ckptconv.operations._common import WriteOptions, require_apart, written_dtype
from ckptconv.plan import Plan, make_plan, widening_notice
from ckptconv.publish import published
from ckptconv.table import DialectName
from ckptconv.transfer import write_weights


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion wrote, or with `dry_run` would write."""

    source: Path
    target: Path
    pair: str
    dialect: DialectName
    format: str
    plan: Plan
    files: tuple[str, ...]
    """Names of the weight files; empty after a dry run."""
    notices: tuple[str, ...]
    """What the user should know: one sentence each."""


def pt2tf(source: Path, target: Path, form: str = "hdf5", options: WriteOptions | None = None) -> Conversion:
    """Write what `TFEncoderDecoderModel.from_pretrained(target)` loads.

    Args: form: `hdf5` or `safetensors`.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, "tf", formats()[form], options or WriteOptions(), heal=False)


def pt2flax(
    source: Path, target: Path, form: str = "msgpack", options: WriteOptions | None = None, *, heal: bool = True
) -> Conversion:
    """Write what `FlaxEncoderDecoderModel.from_pretrained(target)` loads.

    Args: form: `msgpack` or `safetensors`. heal: mend what Flax's class gets wrong, see `healing.py`.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, "flax", formats()[form], options or WriteOptions(), heal=heal)


def _convert(
    source: Path, target: Path, dialect: DialectName, form: Format, options: WriteOptions, *, heal: bool
) -> Conversion:
    checkpoint = open_checkpoint(source, "pytorch")
    require_apart(source, target)
    composition = compose(checkpoint.config)
    composition.require_class(dialect)
    plan = make_plan(
        composition.rows(),
        checkpoint.weights.tensors,
        "pytorch",
        dialect,
        what=str(source),
        dtype=options.dtype,
        widened=form.widened,
        healings=composition.healings() if heal and dialect == "flax" else (),
    )
    notices = (*plan.notices, *_dtype_notices(plan, form, options), *left_behind(source))
    result = Conversion(source, target, composition.pair, dialect, form.name, plan, (), notices)
    if options.dry_run:
        return result
    with published(target, overwrite=options.overwrite, needs=plan.nbytes) as stage:
        progress = options.counter(plan.nbytes)
        written = write_weights(plan, form, dialect, stage, options.max_shard_bytes, progress)
        write_config(stage, whole_config(checkpoint.config, plan, written_dtype(plan)))
        copy_companions(source, stage)
    files = tuple(file.name for file in written.files)
    return Conversion(source, target, composition.pair, dialect, form.name, plan, files, notices)


def _dtype_notices(plan: Plan, form: Format, options: WriteOptions) -> tuple[str, ...]:
    """Say what was widened without being asked for."""
    return tuple(widening_notice(plan, form.name.upper())) if options.dtype == "keep" else ()
