"""`pt2tf`, `pt2flax`, `tf2pt`, `flax2pt`, `normalize`: the whole pair, from one framework's class to another's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ckptconv.base.arguments import require_choice
from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.binding.moves import Plan
from ckptconv.binding.plan import widening_notice
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.companions import (
    left_behind,
    require_companions,
)
from ckptconv.stores.configs import whole_config
from ckptconv.stores.formats import formats
from ckptconv.stores.hub import resolve
from ckptconv.transfer.loop import split_shards
from ckptconv.verbs.planning import Way, planned
from ckptconv.verbs.positions import Positions, require_positions
from ckptconv.verbs.writing import (
    Content,
    Conversion,
    WriteOptions,
    publish,
    require_apart,
    source_files,
    written_dtype,
)

TF_FORMATS = ("hdf5", "safetensors")
FLAX_FORMATS = ("msgpack", "safetensors")


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
    require_choice("format", format, TF_FORMATS)
    return _convert(source, target, Way("pytorch", "tf", formats()[format]), options)


def pt2flax(
    source: Path | str,
    target: Path | str,
    format: str = "msgpack",
    options: WriteOptions | None = None,
    *,
    heal: bool = True,
) -> Conversion:
    """Write what `FlaxEncoderDecoderModel.from_pretrained(target)` loads.

    Args: format: `msgpack` or `safetensors`. heal: move rows where Flax's class numbers positions otherwise.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    require_choice("format", format, FLAX_FORMATS)
    return _convert(source, target, Way("pytorch", "flax", formats()[format], heal), options)


def tf2pt(
    source: Path | str, target: Path | str, options: WriteOptions | None = None
) -> Conversion:
    """Write what `EncoderDecoderModel.from_pretrained(target)` loads, from what the TF class saved.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, Way("tf", "pytorch", formats()["safetensors"]), options)


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
    require_positions(positions)
    way = Way(
        "flax",
        "pytorch",
        formats()["safetensors"],
        positions=positions,
        trained_row=take_trained_row,
    )
    return _convert(source, target, way, options)


def normalize(
    source: Path | str, target: Path | str, options: WriteOptions | None = None
) -> Conversion:
    """Write the same PyTorch model with today's names, ties resolved, nothing left over.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, Way("pytorch", "pytorch", formats()["safetensors"]), options)


def _convert(
    source: Path | str, target: Path | str, way: Way, options: WriteOptions | None
) -> Conversion:
    options = options or WriteOptions()
    source, target = resolve(source, way.source), Path(target)
    checkpoint = open_checkpoint(source, way.source)
    require_apart(source, target)
    planning = planned(checkpoint, way, options.dtype)
    model, plan, settings = planning.model, planning.plan, planning.settings
    _require_loadable(plan, way, options)
    require_companions(source)
    notices = (
        *checkpoint.notices,
        *plan.notices,
        *model.notices(way.target),
        *_widening(plan, way, options),
        *_added(settings, way),
        *left_behind(source),
    )
    result = Conversion((source,), target, model.label, way.target, way.form.name, plan, notices)
    if options.dry_run:
        return result
    origin = result.origin(
        _verb(way), {**options.shaping(), **_shaping(way)}, model.tensors, way.source
    )
    content = Content(
        whole_config(
            model.config, model.classes["pytorch"], plan.healed, written_dtype(plan), settings
        ),
        source,
        "whole",
    )
    read = {"source": source_files(checkpoint)}
    return publish(result, origin, content, read, [checkpoint], way.form, options)


def _verb(way: Way) -> str:
    """Return the command's name."""
    short = {"pytorch": "pt"}
    names = (short.get(naming, naming) for naming in (way.source, way.target))
    return "normalize" if way.source == way.target else "2".join(names)


def _shaping(way: Way) -> dict[str, Json]:
    """Return the options of this way that shape the bytes."""
    shaping: dict[str, Json] = {"format": way.form.name}
    if way.target == "flax":
        shaping["heal"] = way.heal
    if way.positions:
        shaping["positions"] = way.positions
    if way.trained_row:
        shaping["take_trained_row"] = True
    return shaping


def _added(settings: Mapping[str, Mapping[str, Json]], way: Way) -> Iterator[str]:
    """Say which settings the target has beside the source's."""
    for side, keys in settings.items():
        for key, value in keys.items():
            where = f"{side}: {key}" if side else key
            yield f"config.json: {where} = {value} added, since the {way.target} class reads it"


def _widening(plan: Plan, way: Way, options: WriteOptions) -> Iterator[str]:
    """Say what was widened without being asked for."""
    if options.dtype == "keep":
        yield from widening_notice(plan, way.form.name.upper())


def _require_loadable(plan: Plan, way: Way, options: WriteOptions) -> None:
    """Refuse shards that the target's class cannot load. Raises SourceError."""
    shards = len(split_shards(plan.moves, options.max_shard_bytes))
    if way.target == "flax" and way.form.name == "safetensors" and shards > 1:
        raise SourceError(
            f"{shards} shards of safetensors: FlaxEncoderDecoderModel of transformers 4.57.6 loads only one"
            " file of that format.\nUse --format msgpack, or leave --max-shard-size away."
        )
