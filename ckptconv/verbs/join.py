"""`join`: one encoder-decoder checkpoint from two models.

What `EncoderDecoderModel.from_encoder_decoder_pretrained` makes, file to file: all that exists is copied
bit for bit; a cross-attention, head or projection that nobody has yet is drawn from a seed, or the
cross-attention copied from the decoder's self-attention. The parts that `split` wrote give the original.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ckptconv.base.errors import (
    MAX_SEED,
    PlanError,
    SourceError,
    require_choice,
    require_integer,
)
from ckptconv.base.files import Snapshot
from ckptconv.base.presence import is_file, is_folder
from ckptconv.base.strict_json import Json, read_json
from ckptconv.binding.bind import Binding, joined
from ckptconv.binding.identify import Identity, identify, identify_part
from ckptconv.binding.plan import Fill, make_plan
from ckptconv.compare.processors import require_processor
from ckptconv.schema.config import DECODING, Config
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.model import Model, Role, read_model
from ckptconv.schema.models.pair import COMPOSITES
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.checkpoint import Checkpoint, open_preferring_pytorch
from ckptconv.stores.companions import (
    Scope,
    companion_folders,
    companions,
    left_behind,
    not_taken,
    part_config,
    require_companions,
    whole_config,
)
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.hub import local_path, resolve
from ckptconv.verbs.convert import (
    Content,
    Conversion,
    WriteOptions,
    publish,
    require_apart,
    source_files,
    written_dtype,
)
from ckptconv.verbs.parts import Borrowed, from_self_attention

CrossAttention: TypeAlias = Literal["random", "self"]
DEFAULT_STD = 0.02
"""initializer_range of every family that has one, unless its config says otherwise."""
TEXT = "encoder-decoder"
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

    def __post_init__(self) -> None:
        """Refuse what `join` does not take. Raises UsageError."""
        WriteOptions.__post_init__(self)
        require_integer("seed", self.seed, most=MAX_SEED)
        require_choice("cross_attention", self.cross_attention, get_args(CrossAttention))

    def shaping(self) -> dict[str, Json]:
        """Return the options that shape the bytes of the output, for its manifest."""
        own: dict[str, Json] = {
            "seed": self.seed,
            "cross_attention": self.cross_attention,
            "tie": self.tie,
        }
        return {**WriteOptions.shaping(self), **own}


@dataclass(slots=True)
class _Assembly:
    """What the parts hold, as the whole names it, and where the rest comes from."""

    binding: Binding
    fills: dict[str, Fill] = field(default_factory=dict)
    borrowed: Borrowed = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    bridge: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What is read around the parts: the config of the whole, and all that travels along."""

    folder: Path
    scope: Scope
    files: tuple[Path, ...]
    before: Snapshot

    @classmethod
    def of(cls, folder: Path, scope: Scope, whole: Config | None) -> _Surroundings:
        """Look at a directory before the first of its files is copied."""
        before = Snapshot.of(folder, *companion_folders(folder))
        files = (*companions(folder, scope), *([Path(whole.where)] if whole else []))
        return cls(folder, scope, files, before)

    def require_unchanged(self) -> None:
        """Look again. Raises SourceError: a file changed, went away or appeared."""
        self.before.require_none_new(companions(self.folder, self.scope))
        self.before.require_unchanged(self.files)


def join(
    encoder: Path | str, decoder: Path | str, target: Path | str, options: JoinOptions | None = None
) -> Conversion:
    """Write one checkpoint that `EncoderDecoderModel.from_pretrained(target)` loads.

    Raises: SourceError: refused, with every problem. DestinationError: nothing was published.
    """
    options = options or JoinOptions()
    target = local_path(target)
    encoder, decoder = resolve(encoder), resolve(decoder)
    parts = open_preferring_pytorch(encoder), open_preferring_pytorch(decoder)
    for source in (encoder, decoder):
        require_apart(source, target)
    _require_order(*parts, target)
    whole = _whole_beside(*parts)
    config = whole or _joined_config(*parts)
    if options.tie:
        config = replace(config, values={**config.values, "tie_encoder_decoder": True})
    model = read_model(config)
    assembly = _assemble(model, parts, options)
    plan = make_plan(
        assembly.binding,
        "pytorch",
        what=f"{encoder} + {decoder}",
        dtype=options.dtype,
        fills=assembly.fills,
        borrowed=assembly.borrowed,
    )
    folder = Path(whole.where).parent if whole else encoder
    scope: Scope = "whole" if whole else "tokenizer"
    surroundings = _Surroundings.of(folder, scope, whole)
    require_companions(folder, scope)
    require_processor(model, folder)
    reading = [notice for part in parts for notice in part.notices]
    left = _left_behind(encoder, decoder, whole)
    beside = [f"config and what else belongs to the whole: taken from {folder}"]
    settings = beside if whole else _settings_undone(parts[0])
    notices = (*reading, *settings, *assembly.notices, *plan.notices, *left)
    form = FORMATS["safetensors"]
    result = Conversion(
        (encoder, decoder), target, model.label, "pytorch", form.name, plan, notices
    )
    if options.dry_run:
        return result
    origin = result.origin("join", options.shaping(), model.tensors, "pytorch")
    written = whole_config(model.config, model.classes["pytorch"], plan.healed, written_dtype(plan))
    read = _sources(parts, assembly.bridge, whole)
    bridge = [assembly.bridge] if assembly.bridge else []
    return publish(
        result,
        origin,
        Content(written, folder, scope),
        read,
        [*parts, *bridge, surroundings],
        form,
        options,
    )


def _left_behind(encoder: Path, decoder: Path, whole: Config | None) -> Iterable[str]:
    """Say once of each file beside the parts, and beside the whole where there is one, why it is not copied."""
    folders = dict.fromkeys((encoder, decoder, Path(whole.where).parent if whole else encoder))
    notices = dict.fromkeys(notice for folder in folders for notice in left_behind(folder))
    if not whole:
        notices |= dict.fromkeys(
            (*not_taken(encoder, "tokenizer"), *not_taken(decoder, "nothing", encoder))
        )
    return notices


def _sources(
    parts: tuple[Checkpoint, Checkpoint], bridge: Checkpoint | None, whole: Config | None
) -> dict[str, tuple[Path, ...]]:
    """Return which files of which directory are read."""
    encoder, decoder = parts
    files = {
        "encoder": source_files(encoder, beside=False),
        "decoder": source_files(decoder, beside=False),
    }
    if bridge:
        files["bridge"] = source_files(bridge, beside=False)
    if whole:
        files["whole"] = (Path(whole.where), *companions(Path(whole.where).parent))
    else:
        files["encoder"] += companions(encoder.path, "tokenizer")
    return files


def _whole_beside(encoder: Checkpoint, decoder: Checkpoint) -> Config | None:
    """Return the config of the whole that lies beside both parts, if it is the one they came from."""
    folder = encoder.path.resolve().parent
    path = folder / "config.json"
    if folder != decoder.path.resolve().parent or not is_file(path):
        return None
    whole = Config(read_json(path), str(path))
    if whole.stated("model_type") not in COMPOSITES:
        return None
    for side, checkpoint in (("encoder", encoder), ("decoder", decoder)):
        if part_config(whole, side, "") | {"architectures": None} != dict(
            checkpoint.config.values
        ) | {"architectures": None}:
            return None
    return whole


def _require_order(encoder: Checkpoint, decoder: Checkpoint, target: Path) -> None:
    """Refuse a decoder of a pair that is given as the encoder, with a model that reads no encoder as the decoder.

    Its trained cross-attention would be dropped, and another drawn in its place. A model by itself may be either: a
    BERT, or a GPT-2 without cross-attention. Raises SourceError.
    """
    if (
        encoder.config.get("add_cross_attention") is True
        and _has_cross_attention(identify_part(encoder, "decoder"))
        and _is_an_encoder(decoder)
    ):
        roles: tuple[tuple[Checkpoint, Role], ...] = ((encoder, "encoder"), (decoder, "decoder"))
        possible = not any(identify_part(part, role).refusal for part, role in roles)
        meant = f" If this order is meant, set 'add_cross_attention' to false in {encoder.config.where}."
        raise SourceError(
            f"{encoder.path}: given as the encoder, but holds a cross-attention, which reads an encoder;"
            f" {decoder.path}, given as the decoder, has none.\n"
            f"In the other order: `ckptconv join {decoder.path} {encoder.path} {target}`."
            f"{meant if possible else ''}"
        )


def _is_an_encoder(checkpoint: Checkpoint) -> bool:
    """Tell whether a model by itself can be an encoder, and holds nothing with which a decoder reads one.

    What is refused in either role, such as a whole, is left to the refusal that says why.
    """
    if identify_part(checkpoint, "encoder").refusal:
        return False
    identity = identify_part(checkpoint, "decoder")
    if identity.refusal:
        return FAMILIES[checkpoint.config.stated("model_type")].decoder is None
    return not _has_cross_attention(identity)


def _has_cross_attention(identity: Identity) -> bool:
    """Tell whether a model by itself holds the tensors with which a decoder reads an encoder."""
    binding = identity.binding
    return any(binding.tensors[key].module.part == "cross-attention" for key in binding.stored)


def _settings_undone(encoder: Checkpoint) -> list[str]:
    """Say which settings of a decoder a model loses that becomes an encoder."""
    keys = encoder.config.decoding
    if not keys:
        return []
    return [
        f"encoder: {' and '.join(keys)} set to false, as `from_encoder_decoder_pretrained` does"
    ]


def _composite(encoder: Checkpoint) -> str:
    """Return the model type of a whole, by what its encoder reads."""
    family = FAMILIES.get(encoder.config.stated("model_type"))
    reads = family.encoder.reads if family and family.encoder else "tokens"
    return next((name for name, modality in COMPOSITES.items() if modality == reads), TEXT)


def _joined_config(encoder: Checkpoint, decoder: Checkpoint) -> Config:
    """Return the config of a new whole. Source: `EncoderDecoderConfig.from_encoder_decoder_configs`."""
    for checkpoint in (encoder, decoder):
        if checkpoint.config.stated("model_type") in COMPOSITES:
            raise SourceError(
                f"{checkpoint.path}: is already an encoder-decoder; `ckptconv split` gives its encoder and decoder."
            )
    undone = dict.fromkeys(encoder.config.decoding, False)
    reads: dict[str, Json] = dict.fromkeys(DECODING, True)
    if decoder.config.get("is_encoder_decoder"):  # a whole BART's; its decoder class sets it so
        reads["is_encoder_decoder"] = False
    values: dict[str, Json] = {
        "model_type": _composite(encoder),
        "is_encoder_decoder": True,
        "encoder": {**encoder.config.values, **undone},
        "decoder": {**decoder.config.values, **reads},
    }
    for key in ("dtype", "torch_dtype", "transformers_version"):
        if key in decoder.config.values:
            values[key] = decoder.config.values[key]
    return Config(values, f"{encoder.path} + {decoder.path}")


def _assemble(
    model: Model, checkpoints: tuple[Checkpoint, Checkpoint], options: JoinOptions
) -> _Assembly:
    """Lay the whole's schema on the parts, and fill what they lack."""
    bindings: list[Binding] = []
    notices: list[str] = []
    for part, checkpoint in zip(model.parts.values(), checkpoints, strict=True):
        binding = identify_part(checkpoint, part.role).binding
        if binding.duplicates:
            raise PlanError(f"{checkpoint.path}: names", binding.duplicates)
        bindings.append(binding)
        notices += _foreign(part.name, checkpoint)
        notices += [f"{part.name}: {notice}" for notice in binding.wrapper_notices()]
        notices += _unused(part.name, binding)
    bridge = _bridge(model, checkpoints[0].path, options)
    if bridge:
        bindings.append(identify(bridge).binding)
        notices.append(f"bridge: taken from {bridge.path}")
    assembly = _Assembly(joined(model.tensors, bindings), notices=notices, bridge=bridge)
    new = list(_new_tensors(assembly.binding))
    if options.cross_attention == "self":
        assembly.borrowed = from_self_attention(new, model, assembly.binding.stored)
        new = [tensor for tensor in new if tensor.key not in assembly.borrowed]
    assembly.fills |= _fills(new, model.decoder.config, options.seed)
    for section, count in Counter(tensor.module.part for tensor in new).items():
        assembly.notices.append(
            f"{section}: {count} tensors are new, drawn with seed {options.seed}; train them before use"
        )
    return assembly


def _foreign(part: str, checkpoint: Checkpoint) -> Iterator[str]:
    """Say that a part is read from another framework's weights: there are none of PyTorch's."""
    weights = checkpoint.weights
    if weights.naming != "pytorch":
        yield f"{part}: read from {weights.naming} weights ({weights.files[0].name})"


def _unused(part: str, binding: Binding) -> Iterator[str]:
    """Name what the whole has no place for."""
    names = list(binding.unknown)
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"{part}: not used: {', '.join(names[:3])}{more}"


def _bridge(model: Model, encoder: Path, options: JoinOptions) -> Checkpoint | None:
    """Open the projection that the options name, or that `split` wrote beside the encoder.

    Raises: SourceError: one is named, and the model needs none.
    """
    if not any(model.joints()):
        if options.bridge:
            raise SourceError(
                f"{options.bridge}: encoder and decoder have the same width, so there is no bridge."
            )
        return None
    beside = encoder.resolve().parent / "bridge"
    if options.bridge is None and not is_folder(beside):
        return None
    return open_preferring_pytorch(resolve(options.bridge) if options.bridge else beside)


def _new_tensors(binding: Binding) -> Iterator[SchemaTensor]:
    """Return the tensors of the sections that are missing as a whole; one that is there in part is an error."""
    required = {key: tensor for key, tensor in binding.tensors.items() if tensor.required}
    present = {tensor.module.part for key, tensor in required.items() if key in binding.stored}
    return (
        tensor
        for tensor in required.values()
        if tensor.module.part in NEW_PARTS and tensor.module.part not in present
    )


def _fills(tensors: Iterable[SchemaTensor], decoder: Config, seed: int) -> dict[str, Fill]:
    """Return how new tensors begin: gains are 1, offsets 0, weights normal. Source: `_init_weights` of the classes."""
    std = decoder.get("initializer_range") or decoder.get("init_std") or DEFAULT_STD
    if isinstance(std, bool) or not isinstance(std, int | float):
        raise SourceError(f"{decoder.where}: 'initializer_range' must be a number")
    fills = {}
    for tensor in tensors:
        role = tensor.key.rpartition(".")[2]
        if tensor.module.kind == "norm":
            fills[tensor.key] = Fill(mean=float(role == "weight"))
        elif role == "weight":
            fills[tensor.key] = Fill(std=float(std), seed=seed)
        else:
            fills[tensor.key] = Fill()
    return fills
