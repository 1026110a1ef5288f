"""`pt2tf`, `pt2flax`, `tf2pt`, `flax2pt`, `normalize`: the whole pair, from one framework's class to another's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ckptconv.checkpoint import open_checkpoint
from ckptconv.companions import GENERATION, copy_companions, left_behind, whole_config, write_config
from ckptconv.composition import Composition, compose, recorded, unhealed
from ckptconv.config import Json, read_json
from ckptconv.errors import SourceError
from ckptconv.formats import Format, formats
from ckptconv.healing import RollPositions
from ckptconv.moves import Plan
from ckptconv.operations.writing import Conversion, WriteOptions, require_apart, written_dtype
from ckptconv.plan import make_plan, widening_notice
from ckptconv.publishing.stage import published
from ckptconv.table import DialectName
from ckptconv.transfer import split_shards, write_weights


@dataclass(frozen=True, slots=True)
class _Way:
    """From which dialect to which, in which format."""

    source: DialectName
    target: DialectName
    form: Format
    heal: bool = False


def pt2tf(source: Path, target: Path, form: str = "hdf5", options: WriteOptions | None = None) -> Conversion:
    """Write what `TFEncoderDecoderModel.from_pretrained(target)` loads.

    Args: form: `hdf5` or `safetensors`.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, _Way("pytorch", "tf", formats()[form]), options)


def pt2flax(
    source: Path, target: Path, form: str = "msgpack", options: WriteOptions | None = None, *, heal: bool = True
) -> Conversion:
    """Write what `FlaxEncoderDecoderModel.from_pretrained(target)` loads.

    Args: form: `msgpack` or `safetensors`. heal: mend what Flax's class gets wrong, see `healing.py`.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, _Way("pytorch", "flax", formats()[form], heal), options)


def tf2pt(source: Path, target: Path, options: WriteOptions | None = None) -> Conversion:
    """Write what `EncoderDecoderModel.from_pretrained(target)` loads, from what the TF class saved.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, _Way("tf", "pytorch", formats()["safetensors"]), options)


def flax2pt(source: Path, target: Path, options: WriteOptions | None = None) -> Conversion:
    """Write what `EncoderDecoderModel.from_pretrained(target)` loads, from what the Flax class saved.

    What `pt2flax` healed is undone, as the config's record says.
    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, _Way("flax", "pytorch", formats()["safetensors"]), options)


def normalize(source: Path, target: Path, options: WriteOptions | None = None) -> Conversion:
    """Write the same PyTorch model with today's names, ties resolved, nothing left over.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    return _convert(source, target, _Way("pytorch", "pytorch", formats()["safetensors"]), options)


def _convert(source: Path, target: Path, way: _Way, options: WriteOptions | None) -> Conversion:
    options = options or WriteOptions()
    checkpoint = open_checkpoint(source, way.source)
    require_apart(source, target)
    composition = compose(unhealed(checkpoint.config))
    composition.require_class(way.target)
    plan = make_plan(
        composition.rows(),
        checkpoint.weights.tensors,
        way.source,
        way.target,
        what=str(source),
        dtype=options.dtype,
        widened=way.form.widened,
        healings=composition.healings() if way.heal else (),
        healed_source=recorded(composition, checkpoint.config),
    )
    _require_loadable(plan, way, options)
    if way.heal:
        _require_healable(composition, source)
    settings = composition.settings(way.target)
    notices = (*plan.notices, *_widening(plan, way, options), *_added(settings, way), *left_behind(source))
    result = Conversion((source,), target, composition.pair, way.target, way.form.name, plan, notices)
    if options.dry_run:
        return result
    with published(target, overwrite=options.overwrite, needs=plan.nbytes) as stage:
        progress = options.counter(plan.nbytes)
        written = write_weights(plan, way.form, way.target, stage, options.max_shard_bytes, progress)
        write_config(stage, whole_config(composition.config, plan, written_dtype(plan), settings))
        copy_companions(source, stage)
    return replace(result, files=tuple(file.name for file in written.files))


def _added(settings: Mapping[str, Mapping[str, Json]], way: _Way) -> Iterator[str]:
    """Say which settings the target has beside the source's."""
    for side, keys in settings.items():
        for key, value in keys.items():
            yield f"config.json: {side}: {key} = {value} added, since the {way.target} class reads it"


def _widening(plan: Plan, way: _Way, options: WriteOptions) -> Iterator[str]:
    """Say what was widened without being asked for."""
    if options.dtype == "keep":
        yield from widening_notice(plan, way.form.name.upper())


def _require_healable(composition: Composition, source: Path) -> None:
    """Refuse a RoBERTa-like decoder that starts with the pad token. Raises SourceError.

    PyTorch gives the pad token a position of its own, and in its cached generation the next token the one
    after next; no order of the table's rows fits both in Flax, which counts 0, 1, 2 ...
    """
    if not any(isinstance(rule, RollPositions) for rule in composition.decoder_part.healings):
        return
    generation = read_json(source / GENERATION) if (source / GENERATION).is_file() else {}
    start = generation.get("decoder_start_token_id", composition.config.get("decoder_start_token_id"))
    if start is not None and start == composition.decoder.config.get("pad_token_id"):
        raise SourceError(
            f"{source}: decoder_start_token_id is the decoder's pad_token_id ({start}): Flax numbers the positions"
            " of such a decoder otherwise than PyTorch, and no order of its position table mends that.\n"
            "pt2tf can convert it; or train with another start token, such as the tokenizer's <s>."
        )


def _require_loadable(plan: Plan, way: _Way, options: WriteOptions) -> None:
    """Refuse shards that the target's class cannot load. Raises SourceError."""
    shards = len(split_shards(plan.moves, options.max_shard_bytes))
    if way.target == "flax" and way.form.name == "safetensors" and shards > 1:
        raise SourceError(
            f"{shards} shards of safetensors: FlaxEncoderDecoderModel of transformers 4.57.6 loads only one"
            " file of that format.\nUse --format msgpack, or leave --max-shard-size away."
        )
