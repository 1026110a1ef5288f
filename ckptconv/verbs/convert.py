"""The five conversions of a whole, and what every verb that writes shares: options, checks, publishing, the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, get_args

from ckptconv.base.errors import DestinationError, SourceError, require_choice, require_integer
from ckptconv.base.results import Result
from ckptconv.base.strict_json import Json, in_words
from ckptconv.base.workers import counted
from ckptconv.binding.plan import DtypeChoice, Plan, widening_notice
from ckptconv.compare.processors import processor_notices, require_processor
from ckptconv.schema.model import Model
from ckptconv.schema.tensors import NamingName, SchemaTensor
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint
from ckptconv.stores.companions import (
    Scope,
    companions,
    copy_companions,
    left_behind,
    require_companions,
    whole_config,
    write_config,
)
from ckptconv.stores.formats import FORMATS, Format
from ckptconv.stores.hub import local_path, resolve
from ckptconv.stores.tensor import require_checksums
from ckptconv.transfer.casting import TensorValues, value_notices
from ckptconv.transfer.loop import Written, split_shards, write_weights
from ckptconv.transfer.manifest import Origin, digested, tables_digest, write_manifest
from ckptconv.transfer.publish.stage import published
from ckptconv.verbs.planning import (
    Positions,
    Way,
    never_healed_notices,
    planned,
    require_positions,
    standing_in,
)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a verb writes."""

    dtype: DtypeChoice = "keep"
    """Cast every float tensor to this; `keep` changes no value."""
    max_shard_bytes: int | None = None
    """Cut the weights into files of at most this much data; None writes one file."""
    allow_overflow: bool = False
    """Let a cast make infinities of numbers; else it is refused."""
    overwrite: bool = False
    dry_run: bool = False
    """Make the plan and check it against the source's headers, but write nothing."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Called with bytes done and bytes to do; every byte counts twice, written and read back."""

    def __post_init__(self) -> None:
        """Refuse what no verb takes. Raises UsageError."""
        require_choice("dtype", self.dtype, get_args(DtypeChoice))
        if self.max_shard_bytes is not None:
            require_integer("max_shard_bytes", self.max_shard_bytes, 1)

    def values(self) -> dict[str, Any]:
        """Return every option by name, for a verb that adds its own."""
        return {option.name: getattr(self, option.name) for option in fields(self)}

    def shaping(self) -> dict[str, Json]:
        """Return the options that shape the bytes of the output, for its manifest."""
        return {
            "dtype": self.dtype,
            "max_shard_bytes": self.max_shard_bytes,
            "allow_overflow": self.allow_overflow,
        }

    def counter(self, plan_bytes: int) -> Callable[[int], None]:
        """Return a callback that adds up bytes for `progress`, whichever thread calls it."""
        return counted(self.progress, 2 * plan_bytes)


@dataclass(frozen=True, slots=True, repr=False)
class Conversion(Result):
    """What a conversion wrote, or with `dry_run` would write."""

    sources: tuple[Path, ...]
    """One; or encoder and decoder, for `join`."""
    target: Path
    pair: str
    naming: NamingName
    """The target's."""
    format: str
    plan: Plan
    notices: tuple[str, ...]
    """What the user should know: one sentence each."""
    files: tuple[str, ...] = ()
    """Names of the weight files; empty after a dry run."""
    values: tuple[TensorValues, ...] = ()
    """Tensors with values that are not finite, or were lost in a cast; empty after a dry run."""

    def done(self, written: Written, remarks: Sequence[str] = ()) -> Conversion:
        """Return the result once the files are there.

        Args: remarks: what publishing has to say of directories that other runs left.
        """
        notices = (*self.notices, *value_notices(written.values), *remarks)
        names = tuple(file.name for file in written.files)
        return replace(self, files=names, values=written.values, notices=notices)

    def origin(
        self,
        command: str,
        options: dict[str, Json],
        rows: Iterable[SchemaTensor],
        source: NamingName,
    ) -> Origin:
        """Return what the manifest says of this conversion, but for the sources' digests."""
        tables = tables_digest(rows, (source, self.naming))
        healed = tuple(fix.entry for fix in self.plan.healed)
        return Origin(command, options, self.pair, self.naming, self.format, tables, healed, {})


def source_files(checkpoint: Checkpoint, *, beside: bool = True) -> tuple[Path, ...]:
    """Return every file of a checkpoint that a conversion reads; `beside`: also those that it copies."""
    weights = checkpoint.weights
    files = (checkpoint.path / "config.json", *weights.indexes, *weights.files)
    return (*files, *companions(checkpoint.path)) if beside else files


def require_apart(source: Path, target: Path) -> None:
    """Refuse a destination that is, holds or lies in the source. Raises DestinationError."""
    inner, outer = (Path(os.path.realpath(path)) for path in (source, target))
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise DestinationError(
            f"{target}: lies in the source or holds it; give a directory beside it."
        )


def require_consistent(plan: Plan) -> None:
    """Hold what a plan reads against the files' own checksums, and what the target stores once against itself.

    Raises: SourceError: a file is damaged, two tensors that must be one differ, or
    one that the target computes holds other values.
    """
    require_checksums(plan.sources.values(), announced=False)  # the manifest's digests tell
    if not plan.equalities and not plan.constants:
        return
    from ckptconv.compare.comparison import check_constants, check_equal  # takes long to import

    if plan.equalities:
        check_equal(plan.equalities)
    if plan.constants:
        check_constants(plan.constants)


def written_dtype(plan: Plan) -> str | None:
    """Return the dtype that the config should name, where the plan changes it; None where it does not."""
    changed = {
        move.target.dtype
        for move in plan.moves
        if move.source and move.source.spec.dtype != move.target.dtype
    }
    return changed.pop() if len(changed) == 1 else None


@dataclass(frozen=True, slots=True)
class Content:
    """What lies beside the weights of a target."""

    config: Mapping[str, Json]
    folder: Path
    """Whose settings, tokenizer and other files travel."""
    scope: Scope
    """Which of them."""


class Watched(Protocol):
    """Something that is read and must not change meanwhile: a checkpoint, or what lies around one."""

    def require_unchanged(self) -> None:
        """Look again. Raises SourceError: it is not what it was."""


def publish(
    result: Conversion,
    origin: Origin,
    content: Content,
    read: Mapping[str, Sequence[Path]],
    checkpoints: Sequence[Watched],
    form: Format,
    options: WriteOptions,
) -> Conversion:
    """Write a planned target whole, with its manifest, or not at all.

    Args: origin: but for the digests of `read`, which are made meanwhile. checkpoints: nothing of them may change.
    Raises: SourceError: a source is damaged, or changes meanwhile. DestinationError: nothing was published.
    """
    plan = result.plan
    require_consistent(plan)
    remarks: list[str] = []
    with (
        published(
            result.target, overwrite=options.overwrite, needs=plan.nbytes, remarks=remarks
        ) as stage,
        digested(read) as sources,
    ):
        written = write_weights(
            plan,
            form,
            result.naming,
            stage,
            options.max_shard_bytes,
            options.counter(plan.nbytes),
            allow_overflow=options.allow_overflow,
        )
        write_config(stage, content.config)
        copy_companions(content.folder, stage, content.scope)
        for checkpoint in checkpoints:
            checkpoint.require_unchanged()
        write_manifest(stage, replace(origin, sources=sources.result()), written.digests)
    return result.done(written, remarks)


DIRECTIONS: Mapping[str, tuple[NamingName, NamingName]] = {
    "pt2tf": ("pytorch", "tf"),
    "pt2flax": ("pytorch", "flax"),
    "tf2pt": ("tf", "pytorch"),
    "flax2pt": ("flax", "pytorch"),
    "normalize": ("pytorch", "pytorch"),
}
"""Command -> the naming that it reads, and the one that it writes."""
TARGET_FORMATS: Mapping[NamingName, tuple[str, ...]] = {
    "pytorch": ("safetensors",),
    "tf": ("hdf5", "safetensors"),
    "flax": ("msgpack", "safetensors"),
}
"""Naming -> the formats that are written of it, the default first."""
OWN_OPTIONS: Mapping[str, Mapping[str, type]] = {
    "pt2tf": {"format": str},
    "pt2flax": {"format": str, "heal": bool, "forward_only": bool},
    "flax2pt": {"positions": str, "take_trained_row": bool},
}
"""Command -> its options beside those of every verb that writes -> their types."""


def way_of(command: str, *, format: str | None = None, **options: Any) -> Way:
    """Return what a command does by its own options, see `OWN_OPTIONS`; None is the default format.

    Raises: UsageError: an option has a value that it does not take.
    """
    source, target = DIRECTIONS[command]
    formats = TARGET_FORMATS[target]
    form = formats[0] if format is None else format
    require_choice("format", form, formats)
    require_positions(options.get("positions"))
    chosen = {"heal": target == "flax", **options}
    return Way(source, target, FORMATS[form], **chosen)


def pt2tf(
    source: Path | str,
    target: Path | str,
    format: str = "hdf5",
    options: WriteOptions | None = None,
) -> Conversion:
    """Write what `TFEncoderDecoderModel.from_pretrained(target)` loads.

    Args: format: `hdf5` or `safetensors`.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return convert(source, target, way_of("pt2tf", format=format), options)


def pt2flax(
    source: Path | str,
    target: Path | str,
    format: str = "msgpack",
    options: WriteOptions | None = None,
    *,
    heal: bool = True,
    forward_only: bool = False,
) -> Conversion:
    """Write what `FlaxEncoderDecoderModel.from_pretrained(target)` loads.

    Args: format: `msgpack` or `safetensors`. heal: move rows where Flax's class numbers positions otherwise.
    forward_only: write a model with which Flax's class crashes when it generates, for its forward pass alone.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    way = way_of("pt2flax", format=format, heal=heal, forward_only=forward_only)
    return convert(source, target, way, options)


def tf2pt(
    source: Path | str, target: Path | str, options: WriteOptions | None = None
) -> Conversion:
    """Write what `EncoderDecoderModel.from_pretrained(target)` loads, from what the TF class saved.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return convert(source, target, way_of("tf2pt"), options)


def flax2pt(
    source: Path | str,
    target: Path | str,
    options: WriteOptions | None = None,
    *,
    positions: Positions | None = None,
    take_trained_row: bool = False,
) -> Conversion:
    """Write what `EncoderDecoderModel.from_pretrained(target)` loads, from what the Flax class saved.

    What `pt2flax` healed is undone, as the config's record says.

    Args: positions: how the tables of a RoBERTa-like model without a record count: `trained-in-flax`, from 0, or
    `as-pytorch`, from the padding token's id + 1. take_trained_row: of the rows that healing repeated take the first,
    which is the one that Flax trains, though training has told them apart.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    way = way_of("flax2pt", positions=positions, take_trained_row=take_trained_row)
    return convert(source, target, way, options)


def normalize(
    source: Path | str, target: Path | str, options: WriteOptions | None = None
) -> Conversion:
    """Write the same PyTorch model with today's names, ties resolved, nothing left over.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return convert(source, target, way_of("normalize"), options)


def convert(
    source: Path | str, target: Path | str, way: Way, options: WriteOptions | None = None
) -> Conversion:
    """Convert one way: what each of the functions above does with its own options.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    options = options or WriteOptions()
    target = local_path(target)
    source = resolve(source, way.source)
    checkpoint = open_checkpoint(source, way.source)
    require_apart(source, target)
    planning = planned(checkpoint, way, options.dtype)
    model, plan, settings = planning.model, planning.plan, planning.settings
    _require_loadable(plan, way, options)
    require_companions(source)
    if model.reads != "tokens":
        require_processor(model, source)
    notices = (
        *checkpoint.notices,
        *never_healed_notices(model, checkpoint),
        *plan.notices,
        *model.notices(way.target),
        *_forward_only(model, way),
        *_widening(plan, way, options),
        *_added(settings, way),
        *(processor_notices(model, source) if model.reads != "tokens" else ()),
        *left_behind(source),
    )
    result = Conversion((source,), target, model.label, way.target, way.form.name, plan, notices)
    if options.dry_run:
        return result
    origin = result.origin(
        _verb(way), {**options.shaping(), **shaping(way)}, model.tensors, way.source
    )
    standing = standing_in(model, way.target)
    added = {
        name: {**standing.added.get(name, {}), **settings.get(name, {})}
        for name in standing.added.keys() | settings.keys()
    }
    content = Content(
        whole_config(
            standing.config,
            standing.pytorch_class,
            plan.healed,
            written_dtype(plan),
            added,
            standing.changed,
            forward_only=bool(model.generation_fault(way.target)),
        ),
        source,
        "whole",
    )
    read = {"source": source_files(checkpoint)}
    return publish(result, origin, content, read, [checkpoint], way.form, options)


def _forward_only(model: Model, way: Way) -> Iterator[str]:
    """Say that the target cannot generate, and why."""
    fault = model.generation_fault(way.target)
    if fault:
        yield f"for the forward pass alone: {fault}"


def _verb(way: Way) -> str:
    """Return the command's name."""
    return next(name for name, ends in DIRECTIONS.items() if ends == (way.source, way.target))


def shaping(way: Way) -> dict[str, Json]:
    """Return the options of a way that shape the bytes, as the manifest of an output has them."""
    options: dict[str, Json] = {"format": way.form.name}
    if way.target == "flax":
        options["heal"] = way.heal
    if way.forward_only:
        options["forward_only"] = True
    if way.positions:
        options["positions"] = way.positions
    if way.take_trained_row:
        options["take_trained_row"] = True
    return options


def _added(settings: Mapping[str, Mapping[str, Json]], way: Way) -> Iterator[str]:
    """Say which settings the target has beside the source's."""
    for side, keys in settings.items():
        for key, value in keys.items():
            where = f"{side}: {key}" if side else key
            yield f"config.json: {where} = {in_words(value)} added, since the {way.target} class reads it"


def _widening(plan: Plan, way: Way, options: WriteOptions) -> Iterator[str]:
    """Say which dtypes the target's format lacks: those of the source, or the one that was asked for."""
    form, wide = way.form.name.upper(), way.form.widened.get(options.dtype)
    if options.dtype == "keep":
        yield from widening_notice(plan, form)
    elif wide:
        dtype = options.dtype
        yield f"{form} has no {dtype}: --dtype {dtype} writes {wide}, and rounds nothing to {dtype}"


def _require_loadable(plan: Plan, way: Way, options: WriteOptions) -> None:
    """Refuse shards that the target's class cannot load. Raises SourceError."""
    shards = len(split_shards(plan.moves, options.max_shard_bytes))
    if way.target == "flax" and way.form.name == "safetensors" and shards > 1:
        raise SourceError(
            f"{shards} shards of safetensors: FlaxEncoderDecoderModel of transformers 4.57.6 loads only one"
            " file of that format.\nUse --format msgpack, or omit --max-shard-size."
        )
