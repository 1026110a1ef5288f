"""What the writing verbs share: options, result, the checks before the first byte, and publishing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, get_args

from ckptconv.base.arguments import require_choice, require_integer
from ckptconv.base.counting import counted
from ckptconv.base.errors import DestinationError
from ckptconv.base.results import Result
from ckptconv.base.strict_json import Json
from ckptconv.binding.moves import Plan
from ckptconv.binding.plan import DtypeChoice
from ckptconv.compare.weights import check_constants, check_equal
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.companions import Scope, companions, copy_companions, write_config
from ckptconv.stores.formats import Format
from ckptconv.stores.parsers.checksums import require_checksums
from ckptconv.transfer.cast_losses import TensorValues, value_notices
from ckptconv.transfer.digests import digested, tables_digest
from ckptconv.transfer.loop import Written, write_weights
from ckptconv.transfer.manifest import Origin, write_manifest
from ckptconv.transfer.publish.stage import published


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
    check_equal(plan.equalities)
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
