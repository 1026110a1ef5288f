"""`join`: one encoder-decoder checkpoint from two models.

What `EncoderDecoderModel.from_encoder_decoder_pretrained` makes, file to file: all that exists is copied
bit for bit; a cross-attention, head or projection that nobody has yet is drawn from a seed, or the
cross-attention copied from the decoder's self-attention. The parts that `split` wrote give the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, read_json
from ckptconv.binding.moves import Fill
from ckptconv.binding.plan import make_plan
from ckptconv.schema.config import Config
from ckptconv.schema.models.pair import COMPOSITE, Composition, compose
from ckptconv.schema.tensors import Row
from ckptconv.stores.checkpoint import Checkpoint, open_checkpoint
from ckptconv.stores.companions import (
    companions,
    copy_companions,
    left_behind,
    require_companions,
    write_config,
)
from ckptconv.stores.configs import part_config, whole_config
from ckptconv.stores.formats import formats
from ckptconv.stores.hub import resolve
from ckptconv.stores.tensor import Stored
from ckptconv.transfer.digests import digested
from ckptconv.transfer.loop import write_weights
from ckptconv.transfer.manifest import write_manifest
from ckptconv.transfer.publish.stage import published
from ckptconv.verbs.parts import assign, from_self_attention
from ckptconv.verbs.writing import (
    Conversion,
    WriteOptions,
    require_apart,
    require_consistent,
    source_files,
    written_dtype,
)

CrossAttention: TypeAlias = Literal["random", "self"]
DEFAULT_STD = 0.02
"""initializer_range of every family that has one, unless its config says otherwise."""
NEW_PARTS = ("cross-attention", "head", "bridge")
"""What two models may lack; anything else that is missing is an error."""


@dataclass(frozen=True, slots=True)
class JoinOptions(WriteOptions):
    """How `join` makes what the parts lack."""

    bridge: Path | str | None = None
    """Directory of the projection; None takes the one that lies beside the encoder."""
    seed: int = 0
    cross_attention: CrossAttention = "random"
    tie: bool = False
    """Share the encoder with the decoder (BERTShare of Rothe et al., 2020); both must be equal."""


@dataclass(slots=True)
class _Assembly:
    """The tensors of both parts under the names of the whole, and what was found on the way."""

    index: dict[str, Stored] = field(default_factory=dict)
    fills: dict[str, Fill] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    bridge: Checkpoint | None = None


def join(
    encoder: Path | str, decoder: Path | str, target: Path | str, options: JoinOptions | None = None
) -> Conversion:
    """Write one checkpoint that `EncoderDecoderModel.from_pretrained(target)` loads.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    options = options or JoinOptions()
    encoder, decoder, target = (
        resolve(encoder, "pytorch"),
        resolve(decoder, "pytorch"),
        Path(target),
    )
    parts = open_checkpoint(encoder, "pytorch"), open_checkpoint(decoder, "pytorch")
    for source in (encoder, decoder):
        require_apart(source, target)
    whole = _whole_beside(*parts)
    config = whole or _joined_config(*parts)
    if options.tie:
        config = replace(config, values={**config.values, "tie_encoder_decoder": True})
    composition = compose(config)
    rows = composition.rows()
    assembly = _assemble(composition, rows, parts, options)
    what = f"{encoder} + {decoder}"
    plan = make_plan(
        rows,
        assembly.index,
        "pytorch",
        "pytorch",
        what=what,
        dtype=options.dtype,
        fills=assembly.fills,
    )
    folder = Path(whole.where).parent if whole else encoder
    require_companions(folder, generation=whole is not None)
    beside = f"config and what else belongs to the whole: taken from {folder}"
    folders = dict.fromkeys((encoder, decoder, folder))
    left = dict.fromkeys(notice for folder in folders for notice in left_behind(folder))
    notices = (*([beside] if whole else []), *assembly.notices, *plan.notices, *left)
    form = formats()["safetensors"]
    result = Conversion(
        (encoder, decoder), target, composition.pair, "pytorch", form.name, plan, notices
    )
    if options.dry_run:
        return result
    own: dict[str, Json] = {
        "seed": options.seed,
        "cross_attention": options.cross_attention,
        "tie": options.tie,
    }
    origin = result.origin("join", {**options.shaping(), **own}, rows, "pytorch")
    read = _sources(parts, assembly.bridge, whole)
    require_consistent(plan)
    remarks: list[str] = []
    with (
        published(target, overwrite=options.overwrite, needs=plan.nbytes, remarks=remarks) as stage,
        digested(read) as sources,
    ):
        progress = options.counter(plan.nbytes)
        written = write_weights(
            plan,
            form,
            "pytorch",
            stage,
            options.max_shard_bytes,
            progress,
            allow_overflow=options.allow_overflow,
        )
        write_config(stage, whole_config(composition.config, plan.healed, written_dtype(plan)))
        copy_companions(folder, stage, generation=whole is not None)
        for part in parts:
            part.require_unchanged()
        write_manifest(stage, replace(origin, sources=sources.result()), written.digests)
    return result.done(written, remarks)


def _sources(
    parts: tuple[Checkpoint, Checkpoint], bridge: Checkpoint | None, whole: Config | None
) -> dict[str, tuple[Path, ...]]:
    """Return which files of which directory are read."""
    encoder, decoder = parts
    taken = {
        "encoder": source_files(encoder, beside=False),
        "decoder": source_files(decoder, beside=False),
    }
    if bridge:
        taken["bridge"] = source_files(bridge, beside=False)
    if whole:
        taken["whole"] = (Path(whole.where), *companions(Path(whole.where).parent))
    else:
        taken["encoder"] += companions(encoder.path, generation=False)
    return taken


def _whole_beside(encoder: Checkpoint, decoder: Checkpoint) -> Config | None:
    """Return the config of the whole that lies beside both parts, if it is the one they came from."""
    folder = encoder.path.resolve().parent
    path = folder / "config.json"
    if folder != decoder.path.resolve().parent or not path.is_file():
        return None
    whole = Config(read_json(path), str(path))
    if whole.get("model_type") != COMPOSITE:
        return None
    for side, checkpoint in (("encoder", encoder), ("decoder", decoder)):
        if part_config(whole, side, "") | {"architectures": None} != dict(
            checkpoint.config.values
        ) | {"architectures": None}:
            return None
    return whole


def _joined_config(encoder: Checkpoint, decoder: Checkpoint) -> Config:
    """Return the config of a new whole. Source: `EncoderDecoderConfig.from_encoder_decoder_configs`."""
    for checkpoint in (encoder, decoder):
        if checkpoint.config.get("model_type") == COMPOSITE:
            raise SourceError(
                f"{checkpoint.path}: is an encoder-decoder already; `ckptconv split` gives its encoder and decoder."
            )
    values: dict[str, Json] = {
        "model_type": COMPOSITE,
        "is_encoder_decoder": True,
        "encoder": dict(encoder.config.values),
        "decoder": {**decoder.config.values, "is_decoder": True, "add_cross_attention": True},
    }
    for key in ("dtype", "torch_dtype", "transformers_version"):
        if key in decoder.config.values:
            values[key] = decoder.config.values[key]
    return Config(values, f"{encoder.path} + {decoder.path}")


def _assemble(
    composition: Composition,
    rows: tuple[Row, ...],
    parts: tuple[Checkpoint, Checkpoint],
    options: JoinOptions,
) -> _Assembly:
    """Give every tensor of the parts its name in the whole, and fill what they lack."""
    result = _Assembly()
    for side, checkpoint, base in (
        ("encoder", parts[0], composition.encoder.family.base),
        ("decoder", parts[1], composition.decoder.family.base),
    ):
        index, unused = assign(rows, side, checkpoint.weights.tensors, base)
        result.index |= index
        if unused:
            shown = ", ".join(unused[:3]) + (
                f" and {len(unused) - 3} more" if len(unused) > 3 else ""
            )
            result.notices.append(f"{side}: not used: {shown}")
    if composition.has_bridge:
        _take_bridge(result, parts[0].path, options)
    elif options.bridge:
        raise SourceError(
            f"{options.bridge}: encoder and decoder have the same width, so there is no bridge."
        )
    new = list(_new_rows(rows, result.index))
    if options.cross_attention == "self":
        copied = from_self_attention(new, composition, result.index)
        result.index |= copied
        new = [row for row in new if row.key not in copied]
    result.fills |= _fills(new, composition.decoder.config, options.seed)
    for part in dict.fromkeys(row.module.part for row in new):
        count = sum(row.module.part == part for row in new)
        result.notices.append(
            f"{part}: {count} tensors are new, drawn with seed {options.seed}; train them before use"
        )
    return result


def _take_bridge(result: _Assembly, encoder: Path, options: JoinOptions) -> None:
    """Take the projection that `split` wrote, if there is one."""
    beside = encoder.resolve().parent / "bridge"
    folder = resolve(options.bridge, "pytorch") if options.bridge else beside
    if options.bridge is None and not folder.is_dir():
        return
    bridge = result.bridge = open_checkpoint(folder, "pytorch")
    for name, stored in bridge.weights.tensors.items():
        whole = f"enc_to_dec_proj.{name}"
        result.index[whole] = replace(stored, spec=stored.spec.renamed(whole))
    result.notices.append(f"bridge: taken from {folder}")


def _new_rows(rows: Iterable[Row], index: Mapping[str, Stored]) -> Iterator[Row]:
    """Return the rows of the parts that are missing as a whole; one that is there in part is an error."""
    rows = [row for row in rows if row.module.presence == "required" and not row.module.tied]
    held = {
        row.module.part
        for row in rows
        if any(name in index for name in row.spellings["pytorch"].names)
    }
    return (row for row in rows if row.module.part in NEW_PARTS and row.module.part not in held)


def _fills(rows: Iterable[Row], decoder: Config, seed: int) -> dict[str, Fill]:
    """Return how new tensors begin: gains are 1, offsets 0, weights normal. Source: `_init_weights` of the classes."""
    std = decoder.get("initializer_range") or decoder.get("init_std") or DEFAULT_STD
    if isinstance(std, bool) or not isinstance(std, int | float):
        raise SourceError(f"{decoder.where}: 'initializer_range' must be a number")
    fills = {}
    for row in rows:
        role = row.key.rpartition(".")[2]
        if row.module.kind == "norm":
            fills[row.key] = Fill(mean=float(role == "weight"))
        elif role == "weight":
            fills[row.key] = Fill(std=float(std), seed=seed)
        else:
            fills[row.key] = Fill()
    return fills
