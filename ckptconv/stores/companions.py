"""What travels along with a model's weights: config, settings, tokenizer, processor, licence, model card. Never code.

**Keys that lead elsewhere.** By some keys transformers reads another file, fetches from the hub, or runs code. They are
dropped from what is written, and said; two by which a model's own config or weights would be another file are
refused. SECURITY.md says how the list was found; `tests/stores/test_leading_keys.py` holds it against the real classes,
with every key that their loading code looks up.

**Words for dtypes.** transformers 4.57.6 looks the config's word up in torch while it reads the config, and fails with
`auto`, `fp16`, `torch.float16` or an empty one, which older versions left in files (configuration_utils.py,
`PretrainedConfig`). No class makes weights in 8-bit floats either: with `dtype="auto"`, which is the default of 5,
torch refuses them. The dtype that the tensors have takes the place of such a word.

**Old configs.** Before 3.1 a pair's `model_type` was `encoder_decoder`, and no key said that a decoder reads an
encoder: every decoder with `is_decoder` had a cross-attention (configuration_encoder_decoder.py,
configuration_utils.py of 2.11 and 3.1). transformers 4.57.6 takes the first with a warning; with the second it drops
the cross-attention and fails when it runs. So the weights show what is missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from ckptconv.base.errors import SourceError, system_reason
from ckptconv.base.files import HTML, POINTER, START_BYTES, FileReader, kind_of, read_source
from ckptconv.base.presence import is_folder, is_link, lies_at, names_in, status_of
from ckptconv.base.strict_json import Json, dump_json, in_words, read_json
from ckptconv.schema.config import DECODING, Config
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.fixes import RECORD, Healed
from ckptconv.schema.model import MODELS, read_model
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.tensor import DEQUANTISE, FLOATS, Stored

CODE_KEYS = (
    "auto_map",
    "custom_pipelines",
    "trust_remote_code",
    "custom_generate",
    "_attn_implementation_internal",
    "_experts_implementation_internal",
)
"""Make a loader run code: from a `.py` beside the model, or from anywhere."""
KERNEL_KEYS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
)
"""Name a kernel; a name that transformers does not know itself is fetched from the hub and run."""
KERNELS = (
    "eager",
    "sdpa",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
    "flex_attention",
    "paged_attention",
    "eager_paged",
    "sdpa_paged",
    "batched_mm",
    "grouped_mm",
)
"""Names that transformers 4.57.6 and 5.24 know; each also with `paged|` before it."""
FILE_KEYS = (
    "configuration_files",
    "transformers_weights",
    "kernel_config",
    "use_pretrained_backbone",
)
"""Make a loader of configs or models read another file, or another model."""
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
)
PATH_KEY = re.compile(r"(\w+_)?(file|spm|path|vocab)")
"""In a tokenizer's or a processor's file: arguments of its class that are paths, where they are text."""
ARGUMENT_KEYS = ("init_inputs", "audio_tokenizer")
"""There as well: arguments of any kind, the first of which is a path; another model."""
IDLE_PATH_KEYS = ("special_tokens_map_file", "added_tokens_file", "tokenizer_config_file")
"""Of these, what no class reads: old versions left the paths of the machine that saved."""
SHOWN = 5
"""Keys in one notice."""

Kind = Literal["code", "kernel", "file"]
WHY: Mapping[Kind, str] = {
    "code": "keys that make a loader run code",
    "kernel": "no attention kernel that transformers has itself: a loader would fetch and run it",
    "file": "keys that make a loader read another file",
}


@dataclass(frozen=True, slots=True)
class Lead:
    """One key that leads elsewhere."""

    place: str
    """Where it stands, such as `encoder.auto_map` or `tasks[0].auto_map`."""
    kind: Kind


def leads(file: str, value: Json, above: str = "") -> Iterator[Lead]:
    """Return the keys that lead elsewhere, at any depth, in the JSON of a file of that name."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from leads(file, item, f"{above}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            place = f"{above}.{key}" if above else key
            kind = _kind(file.rpartition("/")[2], key, item)
            if kind:
                yield Lead(place, kind)
            else:
                yield from leads(file, item, place)


def without_leads(file: str, value: Mapping[str, Json]) -> dict[str, Json]:
    """Return the JSON of a file of that name without the keys that lead elsewhere."""
    return {key: _clean(file, item) for key, item in value.items() if not _kind(file, key, item)}


def _clean(file: str, value: Json) -> Json:
    if isinstance(value, dict):
        return without_leads(file, value)
    return [_clean(file, item) for item in value] if isinstance(value, list) else value


def _kind(file: str, key: str, value: Json) -> Kind | None:
    """Return how a key leads elsewhere; None: it does not, with this value."""
    if key in CODE_KEYS:
        return "code"
    if key in KERNEL_KEYS and not _is_known_kernel(value):
        return "kernel"
    if value in (None, "", [], {}, False):
        return None
    if key in FILE_KEYS:
        return "file"
    if file in TOKENIZER_FILES + PROCESSOR_FILES and key not in IDLE_PATH_KEYS:
        is_path = isinstance(value, str) and PATH_KEY.fullmatch(key)
        return "file" if is_path or key in ARGUMENT_KEYS else None
    return None


def _is_known_kernel(value: Json) -> bool:
    """Tell whether a value names nothing, or only what transformers has itself; a dict names one for each part."""
    if isinstance(value, dict):
        return all(_is_known_kernel(item) for item in value.values())
    return value is None or (isinstance(value, str) and value.removeprefix("paged|") in KERNELS)


def notices(file: str, value: Mapping[str, Json]) -> Iterator[str]:
    """Say which keys of a file do not travel: a sentence for each kind."""
    leading = list(leads(file, dict(value)))
    for kind, why in WHY.items():
        places = [lead.place for lead in leading if lead.kind == kind]
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        if places:
            yield f"left behind: {file}: {', '.join(places[:SHOWN])}{more} ({why})"


def require_no_adapter(folder: Path) -> None:
    """Refuse weights beside which an adapter lies. Raises SourceError: where PEFT is installed, it counts.

    Source: transformers 4.57.6, modeling_utils.py: `from_pretrained` then loads `base_model_name_or_path` of
    adapter_config.json in place of the directory's own weights, and the adapter on top.
    """
    if lies_at(folder / "adapter_config.json"):
        raise SourceError(
            f"{folder}: adapter_config.json lies beside the weights: where PEFT is installed, transformers loads the"
            " model that it names, with the adapter on top, and not these weights.\n"
            "Merge the adapter (merge_and_unload) and save the model, or remove adapter_config.json."
        )


def require_own_files(config: Config) -> None:
    """Refuse a config by which the real classes would read another config, or other weights, than ckptconv does.

    Raises: SourceError: with the key and what to do.
    """
    files = config.values.get("configuration_files")
    if files and files != ["config.json"]:
        raise SourceError(
            f"{config.where}: 'configuration_files': transformers reads another file in place of this one,"
            " by its own version.\nPut the one that you mean in place of config.json, and remove the key."
        )
    weights = config.values.get("transformers_weights")
    if weights is not None:
        raise SourceError(
            f"{config.where}: 'transformers_weights': PyTorch's classes load {in_words(weights)},"
            " not the file that others take for the weights.\n"
            "Rename that file to model.safetensors, alone in its directory, and remove the key."
        )


CODES = frozenset(
    {"qweight", "qzeros", "g_idx", "SCB", "absmax", "quant_map", "weight_packed", "weight_scale"}
)
"""Last levels of the names beside, or in place of, a quantised weight (GPTQ, AWQ, bitsandbytes, compressed-tensors)."""
WEIGHTS = frozenset({"weight", "kernel"})


def conditions(config: Config, tensors: Mapping[str, Stored]) -> Iterator[str]:
    """Say why a checkpoint's tensors cannot be taken for the model's, and what to do: a line for each cause."""
    levels = (config.values, config.get("encoder"), config.get("decoder"))
    sections = (level.get("quantization_config") for level in levels if isinstance(level, Mapping))
    quantised = next(filter(None, sections), None)
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        how = f" ({method!a:.40})" if isinstance(method, str) else ""
        yield f"quantised{how}: its tensors are codes, not weights. {DEQUANTISE}"
    codes = (
        [] if quantised else sorted(name for name, each in tensors.items() if _is_code(name, each))
    )
    if codes:
        more = f" and {len(codes) - 1} more" if len(codes) > 1 else ""
        yield f"quantised: {codes[0]!a:.200}{more} are codes, not weights. {DEQUANTISE}"
    empty = [name for name, stored in tensors.items() if stored.spec.numel == 0]
    if len(empty) > 1 and all(tensors[name].spec.shape == (0,) for name in empty):
        yield (
            f"{len(empty)} of {len(tensors)} tensors are empty, such as {min(empty)!a:.200}: saved from ZeRO-3 or"
            " FSDP without gathering. Save it once more with the weights gathered, or run zero_to_fp32.py."
        )


def _is_code(name: str, stored: Stored) -> bool:
    level = name.replace("/", ".").rpartition(".")[2].removesuffix(":0")
    return level in CODES or (level in WEIGHTS and stored.spec.dtype in ("int8", "uint8"))


KEYS = ("dtype", "torch_dtype")
PARTS = ("encoder", "decoder")
"""Levels of a composite's config that are read as configs of their own."""
READABLE = frozenset({"float32", "float", "float64", "double", "float16", "half", "bfloat16"})


def unreadable_dtypes(values: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Return key and value of every dtype that no class reads; null names none."""
    for key, value in values.items():
        if key in KEYS and value is not None and not _is_readable(value):
            yield f"{prefix}{key}", value
        elif key in PARTS and isinstance(value, dict) and not prefix:
            yield from unreadable_dtypes(value, f"{key}.")


def _is_readable(value: Json) -> bool:
    return isinstance(value, str) and value in READABLE


def with_readable_dtypes(config: Config, tensors: Iterable[Stored]) -> Config:
    """Return a config whose words for dtypes are ones that a class reads: where they are not, that of the tensors."""
    dtype = stored_dtype(tensors)
    return replace(config, values=_replaced(config.values, dtype))


def stored_dtype(tensors: Iterable[Stored]) -> str:
    """Return the dtype in which most bytes of the floating-point tensors are stored; float32 where there are none."""
    nbytes: Counter[str] = Counter()
    for stored in tensors:
        if stored.spec.dtype in FLOATS:
            nbytes[stored.spec.dtype] += stored.spec.nbytes
    return max(sorted(nbytes), key=lambda dtype: nbytes[dtype], default="float32")


def _replaced(values: Mapping[str, Json], dtype: str, level: int = 0) -> dict[str, Json]:
    replaced: dict[str, Json] = {}
    for key, value in values.items():
        if key in KEYS and value is not None and not _is_readable(value):
            replaced[key] = dtype
        elif key in PARTS and isinstance(value, dict) and level == 0:
            replaced[key] = _replaced(value, dtype, 1)
        else:
            replaced[key] = value
    return replaced


FORMER_TYPES = {"encoder_decoder": "encoder-decoder"}


def as_today(config: Config, naming: NamingName, names: Collection[str]) -> Config:
    """Return a config that says what one of today would say of the same weights; the same object where it does."""
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in FORMER_TYPES:
        config = replace(config, values={**config.values, "model_type": FORMER_TYPES[model_type]})
    decoder, model_type = config.get("decoder"), config.get("model_type")
    if not isinstance(decoder, dict) or not isinstance(model_type, str) or model_type not in MODELS:
        return config
    # ProphetNet's class reads an encoder unless the file says otherwise, so its files need not say it
    family = FAMILIES.get(str(decoder.get("model_type")))
    stated = {**(family.defaults if family else {}), **decoder}
    unsaid = [key for key in DECODING if stated.get(key) is None]
    if not unsaid:
        return config
    reading = replace(
        config, values={**config.values, "decoder": {**decoder, **dict.fromkeys(unsaid, True)}}
    )
    return reading if _has_cross_attention(reading, naming, names) else config


def _has_cross_attention(config: Config, naming: NamingName, names: Collection[str]) -> bool:
    """Tell whether one of the names is that of a cross-attention's tensor, whatever stands before it."""
    try:
        tensors = read_model(config).tensors
    except SourceError:  # which whoever reads the config says
        return False
    cross = tuple(
        name
        for tensor in tensors
        if tensor.module.part == "cross-attention" and not tensor.is_buffer
        for name in tensor.names_in(naming)
    )
    return any(name.endswith(cross) for name in names)


def unsaid_keys(before: Config, after: Config) -> Iterator[str]:
    """Return the keys of the decoder that `as_today` set and transformers 4.57.6 needs."""
    first, second = before.get("decoder"), after.get("decoder")
    if isinstance(first, dict) and isinstance(second, dict):
        yield from (f"decoder.{key}" for key in DECODING if first.get(key) != second.get(key))


def whole_config(
    config: Config,
    pytorch_class: str,
    fixes: Sequence[Healed],
    dtype: str | None,
    settings: Mapping[str, Mapping[str, Json]] | None = None,
    changes: Mapping[str, Mapping[str, Json]] | None = None,
    *,
    forward_only: bool = False,
) -> dict[str, Json]:
    """Return the config of a converted whole, as the target class writes it; `settings` adds keys to a side.

    `changes` are keys that the class of another family needs. All of it is recorded, and that a class cannot generate.
    A side without a name is the config itself: a model of one piece.
    Source: `save_pretrained` of the TF and Flax classes: `architectures` without the TF or Flax prefix.
    """
    values: dict[str, Json] = {**config.values, "architectures": [pytorch_class]}
    values.pop(RECORD, None)
    for side, keys in (settings or {}).items():
        values |= {side: {**config.part(side).values, **keys}} if side else keys
    for side, keys in (changes or {}).items():
        section = values.get(side)
        values |= {side: {**section, **keys}} if isinstance(section, dict) else keys
    if dtype is not None:
        values = with_dtype(values, dtype)
    for healed in fixes:
        for key, value in healed.config.items():
            side, name = key.split(".")
            part = values[side]
            assert isinstance(part, dict)
            values[side] = {**part, name: value}
    record: dict[str, Json] = {}
    if fixes:
        record["healed"] = [fix.entry for fix in fixes]
    added = [f"{side}.{key}" for side, keys in (settings or {}).items() for key in keys]
    if added:
        record["added"] = [key.lstrip(".") for key in added]
    was = {
        side: {key: (config.part(side) if side else config).get(key) for key in keys}
        for side, keys in (changes or {}).items()
    }
    if was:
        record["stand_ins"] = [{"part": side, "was": keys} for side, keys in was.items()]
    if forward_only:
        record["forward_only"] = True
    if record:
        values[RECORD] = record
    return values


def with_dtype(config: Mapping[str, Json], dtype: str) -> dict[str, Json]:
    """Return a config that names another dtype, under the key that it uses (4.x: torch_dtype, then dtype)."""
    return {
        key: with_dtype(value, dtype)
        if isinstance(value, dict) and key in ("encoder", "decoder")
        else dtype
        if key in ("dtype", "torch_dtype") and value is not None
        else value
        for key, value in config.items()
    }


def part_config(config: Config, side: str, pytorch_class: str) -> dict[str, Json]:
    """Return the config of one side alone, as `model.encoder.save_pretrained` writes it."""
    part = config.part(side)
    shared = ("dtype", "torch_dtype", "transformers_version")
    inherited = {key: config.values[key] for key in shared if key in config.values}
    return {**inherited, **part.values, "architectures": [pytorch_class]}


GENERATION = "generation_config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "dict.txt",
    "vocab-src.json",
    "vocab-tgt.json",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
    "bpe_simple_vocab_16e6.txt.gz",
    "chat_template.jinja",
)
"""Vocabulary files of the tokenizers in transformers 4.57.6 (their `VOCAB_FILES_NAMES`)."""
TOKENIZER_OF_A_VERSION = re.compile(r"tokenizer\.[0-9][\w.]*\.json")
"""What `fast_tokenizer_files` of tokenizer_config.json names: a tokenizer for some versions of transformers."""
PROCESSOR = (*PROCESSOR_FILES, "chat_template.json")
TEXT = r"([-_][\w-]*(\.[0-9]+)*)?((\.[a-z]{2})?\.(txt|md|rst|html?|pdf|cff|bib))?"
LEGAL = re.compile(rf"(licen[cs]e|copying|copyright|notice|use_policy){TEXT}", re.IGNORECASE)
"""Under which conditions the weights may be used: goes where the weights go."""
CARD = re.compile(rf"(readme|model_?card|citation){TEXT}", re.IGNORECASE)
"""What describes the model, in any language."""
CHECKED = ("config.json", GENERATION, *TOKENIZER_FILES, *PROCESSOR_FILES)
"""JSON files in which transformers looks for keys that lead elsewhere."""
FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


Scope: TypeAlias = Literal["whole", "encoder", "decoder", "tokenizer", "nothing"]
"""What the target is: the model as it is; a side of it, without what describes the whole; or a new model, which
takes over the tokenizer alone, or nothing."""


def travelling(names: Collection[str], scope: Scope = "whole") -> list[str]:
    """Return which of the files of a checkpoint travel along, in a fixed order; names relative to it, with slashes."""
    if scope == "nothing":
        return []
    top = set(names)
    ordered = [*([GENERATION] if scope in ("whole", "decoder") else []), *TOKENIZER, *PROCESSOR]
    chosen = [name for name in ordered if name in top]
    chosen += sorted(name for name in top if TOKENIZER_OF_A_VERSION.fullmatch(name))
    if scope != "tokenizer":
        chosen += sorted(name for name in top if LEGAL.fullmatch(name))
    if scope == "whole":
        chosen += sorted(name for name in top if CARD.fullmatch(name))
        chosen += _in_folders(top)
    return chosen


def _in_folders(names: Collection[str]) -> list[str]:
    """Return the files of tokenizers in folders such as `decoder_tokenizer/`; not those of other checkpoints."""
    folders: dict[str, set[str]] = {}
    for name in names:
        folder, slash, file = name.partition("/")
        if slash:
            folders.setdefault(folder, set()).add(file)
    return [
        f"{folder}/{name}"
        for folder, files in sorted(folders.items())
        if FOLDER_NAME.fullmatch(folder) and "config.json" not in files
        for name in (*TOKENIZER, *PROCESSOR)
        if name in files
    ]


def companions(source: Path, scope: Scope = "whole") -> tuple[Path, ...]:
    """Return which files of a directory travel along, whatever they are; see `travelling`."""
    return tuple(source / name for name in travelling(list(_listing(source)), scope))


def companion_folders(source: Path) -> tuple[Path, ...]:
    """Return the folders of a directory from which files travel."""
    return tuple(dict.fromkeys(path.parent for path in companions(source) if path.parent != source))


def _listing(source: Path) -> Iterator[str]:
    """Return the names in a directory, and those in its folders that could be a tokenizer's; no link is followed."""
    for name in names_in(source):
        path = source / name
        leads_to_folder = is_folder(path)
        if name in (GENERATION, *TOKENIZER, *PROCESSOR) or not leads_to_folder:
            yield name
        if leads_to_folder and FOLDER_NAME.fullmatch(name) and not is_link(path):
            yield from (f"{name}/{below}" for below in _in_folder(path))


def _in_folder(folder: Path) -> list[str]:
    """Return the names in a folder of a checkpoint that tell whether files of it travel.

    Raises: SourceError: it may not be entered: nobody knows then whether an output is to have its files.
    """
    try:
        return [
            name
            for name in ("config.json", *TOKENIZER, *PROCESSOR)
            if status_of(folder / name, follow=False) is not None
        ]
    except OSError as error:
        raise SourceError(
            f"{folder}: this folder cannot be read ({system_reason(error)}); it could hold a tokenizer or a"
            " processor, which go where the weights go.\n"
            "Allow reading it, or move it out of the checkpoint."
        ) from None


def require_companions(source: Path, scope: Scope = "whole") -> None:
    """Open all that `copy_companions` would copy, so that a dry run refuses what a run would.

    Raises: SourceError: one is no file, a link that leads out of the checkpoint, not readable, or what a clone or a
        download left in its place.
    """
    for path in companions(source, scope):
        kind = kind_of(read_source(path, START_BYTES))
        stands_in = (POINTER, HTML) if path.name in TOKENIZER else (POINTER,)
        if kind and kind.name in stands_in:
            raise SourceError(f"{path}: found {kind.name} in its place.\n{kind.advice}")


def copy_companions(source: Path, target: Path, scope: Scope = "whole") -> None:
    """Copy what travels along: byte for byte, but for keys that lead elsewhere.

    Raises: SourceError: one is no file, or a link that leads out of the checkpoint. OSError.
    """
    for path in companions(source, scope):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        if path.name in CHECKED and any(leads(path.name, content := read_json(path))):
            copy.write_bytes(dump_json(without_leads(path.name, content)))
            continue
        with FileReader(path) as file, copy.open("xb") as written:
            written.writelines(file.blocks())


def left_behind(source: Path) -> Iterator[str]:
    """Say which code, and which keys that lead elsewhere, do not travel. Raises SourceError: a malformed config."""
    code = [name for name in names_in(source) if name.endswith(".py")]
    if code:
        yield f"left behind: {', '.join(code)} (ckptconv never copies code)"
    config = [source / "config.json"] if lies_at(source / "config.json") else []
    for path in (*config, *companions(source)):
        if path.name in CHECKED:
            yield from notices(path.relative_to(source).as_posix(), read_json(path))


def not_taken(source: Path, scope: Scope, tokenizer: Path | None = None) -> Iterator[str]:
    """Say which files beside a model do not travel in this scope, but for settings of generation.

    Args: tokenizer: where the target's tokenizer comes from; files that are the same there are no loss.
    """
    names = list(_listing(source))
    travelling_names = {GENERATION, *travelling(names, scope)}
    left = [
        name
        for name in travelling(names)
        if name not in travelling_names
        and not (tokenizer and _same(source / name, tokenizer / name))
    ]
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    if left:
        yield f"not taken along: {', '.join(left[:SHOWN])}{more} (of {source})"


def _same(first: Path, second: Path) -> bool:
    """Tell whether two small files are equal; one that cannot be read is not."""
    most = 64 << 20
    try:
        return first.name in TOKENIZER and read_source(first, most) == read_source(second, most)
    except SourceError:
        return False


def write_config(folder: Path, config: Mapping[str, Json]) -> None:
    """Write config.json as transformers would: sorted, without keys that lead elsewhere or the saver's path."""
    content = _without_saver(without_leads("config.json", config))
    (folder / "config.json").write_bytes(dump_json(content))


def _without_saver(config: Mapping[str, Json]) -> dict[str, Json]:
    """Return a config without the path from which it was loaded once, at any depth."""

    def clean(value: Json) -> Json:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if key != "_name_or_path"}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return {key: clean(value) for key, value in config.items() if key != "_name_or_path"}
