"""`split`: an encoder-decoder checkpoint into its parts, as `AutoModel` and `AutoModelForCausalLM` load them.

OUT/config.json ...      what belongs to the whole: its config, generation settings, tokenizer
OUT/encoder              the base model
OUT/decoder              the language model with its cross-attention
OUT/bridge               `enc_to_dec_proj`, where encoder and decoder differ in width

Of a model of one piece only the sides that a class of transformers holds by itself are written, each under the names
of that class and with the table of words that both share: T5's encoder, BART's decoder. They do not make the whole
again, so nothing of the whole lies beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ckptconv.base.results import Result
from ckptconv.base.strict_json import Json
from ckptconv.binding.plan import Plan
from ckptconv.compare.processors import processor_notices, require_processor
from ckptconv.schema.model import Model
from ckptconv.schema.models.pair import BRIDGE_TYPE
from ckptconv.schema.seq2seq import Seq2Seq
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint
from ckptconv.stores.companions import (
    Scope,
    copy_companions,
    left_behind,
    not_taken,
    part_config,
    require_companions,
    whole_config,
    with_dtype,
    write_config,
)
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.hub import local_path, resolve
from ckptconv.transfer.casting import TensorValues, value_notices
from ckptconv.transfer.loop import Written, write_weights
from ckptconv.transfer.manifest import (
    FileDigest,
    Origin,
    below,
    digested,
    tables_digest,
    within,
    write_manifest,
)
from ckptconv.transfer.publish.stage import published
from ckptconv.verbs.convert import (
    WriteOptions,
    require_apart,
    require_consistent,
    source_files,
    written_dtype,
)
from ckptconv.verbs.planning import (
    Planned,
    Way,
    planned,
)
from ckptconv.verbs.sides import SidePlan, side_notices, side_plans


@dataclass(frozen=True, slots=True)
class PartOutput:
    """One directory of the result."""

    name: str
    plan: Plan
    config: dict[str, Json]


@dataclass(frozen=True, slots=True, repr=False)
class Split(Result):
    """What a split wrote, or with `dry_run` would write."""

    source: Path
    target: Path
    pair: str
    parts: tuple[PartOutput, ...]
    notices: tuple[str, ...]
    values: tuple[TensorValues, ...] = ()
    """Tensors with values that are not finite, or were lost in a cast; empty after a dry run."""


def split(source: Path | str, target: Path | str, options: WriteOptions | None = None) -> Split:
    """Write encoder, decoder and bridge as PyTorch safetensors.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    options = options or WriteOptions()
    target = local_path(target)
    source = resolve(source, "pytorch")
    checkpoint = open_checkpoint(source, "pytorch")
    require_apart(source, target)
    way = Way("pytorch", "pytorch", FORMATS["safetensors"])
    planning = planned(checkpoint, way, options.dtype)
    model, plan = planning.model, planning.plan
    sides = side_plans(planning, options.dtype)
    require_companions(source)
    require_processor(model, source)
    parts = tuple(map(_side, sides)) if sides else tuple(_parts(model, plan))
    notices = (
        *checkpoint.notices,
        *(side_notices(model, sides) if sides else plan.notices),
        *_bridge_notice(parts),
        *processor_notices(model, source),
        *left_behind(source),
        *(not_taken(source, "decoder") if sides else ()),
    )
    result = Split(source, target, model.label, parts, notices)
    if options.dry_run:
        return result
    tables = tables_digest(model.tensors, ("pytorch",))
    origin = Origin(
        "split", options.shaping(), model.label, "pytorch", "safetensors", tables, (), {}
    )
    values, remarks = _write(checkpoint, planning, result, options, origin)
    return replace(result, values=values, notices=(*notices, *value_notices(values), *remarks))


def _parts(model: Model, plan: Plan) -> Iterator[PartOutput]:
    """Divide the plan by its prefixes; each part gets a config of its own, and what joins them one of its widths."""
    dtype = written_dtype(plan)
    for name, part in model.parts.items():
        values = part_config(model.config, name, part.tables.classes["pytorch"])
        yield PartOutput(
            name, plan.below(f"{name}."), with_dtype(values, dtype) if dtype else values
        )
    if any(model.joints()):
        widths = {f"{name}_hidden_size": part.width for name, part in model.parts.items()}
        yield PartOutput(
            "bridge", plan.below("enc_to_dec_proj."), {"model_type": BRIDGE_TYPE, **widths}
        )


def _side(side: SidePlan) -> PartOutput:
    """Return what a side of one piece becomes."""
    dtype = written_dtype(side.plan)
    values = with_dtype(side.config, dtype) if dtype else side.config
    return PartOutput(side.name, side.plan, values)


def _bridge_notice(parts: Iterable[PartOutput]) -> Iterator[str]:
    if any(part.name == "bridge" for part in parts):
        yield (
            "bridge: enc_to_dec_proj belongs to neither part and lies in OUT/bridge;"
            " from_encoder_decoder_pretrained(OUT/encoder, OUT/decoder) would draw a new one at random"
        )


def _write(
    checkpoint: Checkpoint, planning: Planned, result: Split, options: WriteOptions, origin: Origin
) -> tuple[tuple[TensorValues, ...], tuple[str, ...]]:
    """Write every part, then what belongs to the whole; a manifest goes into each directory.

    Returns: what became of values, and what publishing has to say of directories that other runs left.
    """
    model, plan = planning.model, planning.plan
    needs = sum(part.plan.nbytes for part in result.parts)
    progress = options.counter(needs)
    read = {"source": source_files(checkpoint)}
    require_consistent(plan)
    is_pair = not isinstance(model, Seq2Seq)
    if not is_pair:
        from ckptconv.compare.comparison import check_constants  # takes long to import

        check_constants([constant for part in result.parts for constant in part.plan.constants])
    remarks: list[str] = []
    with (
        published(
            result.target, overwrite=options.overwrite, needs=needs, remarks=remarks
        ) as stage,
        digested(read) as sources,
    ):
        digests: dict[str, FileDigest] = {}
        values: list[TensorValues] = []
        for part in result.parts:
            written = _write_part(checkpoint, part, stage / part.name, options, progress)
            digests |= below(part.name, written.digests)
            values += written.values
        if is_pair:
            whole_class = model.classes["pytorch"]
            write_config(
                stage,
                whole_config(checkpoint.config, whole_class, plan.healed, written_dtype(plan)),
            )
            copy_companions(checkpoint.path, stage)
        checkpoint.require_unchanged()
        origin = replace(origin, sources=sources.result())
        for part in result.parts:
            write_manifest(stage / part.name, origin, within(part.name, digests))
        write_manifest(stage, origin, digests)
    return tuple(values), tuple(remarks)


def _write_part(
    checkpoint: Checkpoint,
    part: PartOutput,
    folder: Path,
    options: WriteOptions,
    progress: Callable[[int], None],
) -> Written:
    """Write one part into a directory of its own: weights, config, and the files that travel with it."""
    folder.mkdir()
    written = write_weights(
        part.plan,
        FORMATS["safetensors"],
        "pytorch",
        folder,
        options.max_shard_bytes,
        progress,
        allow_overflow=options.allow_overflow,
    )
    write_config(folder, part.config)
    if part.name != "bridge":
        scope: Scope = "decoder" if part.name == "decoder" else "encoder"
        copy_companions(checkpoint.path, folder, scope)
    return written
