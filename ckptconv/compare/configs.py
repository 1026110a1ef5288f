"""Do the settings of two checkpoints ask for the same computation, the same generation, and the same tokens?

Equal weights compute another thing with another activation, epsilon or position offset, and answer another
thing from another start token. So the keys that matter are compared as each model will read them: with its family's
defaults, without what a conversion added, and generation as `generate` resolves it. The tokenizers must be the same
files.

Source: transformers 4.57.6, generation/configuration_utils.py (`GenerationConfig`, `from_model_config`) and
generation/utils.py (`_prepare_generation_config`, `_prepare_special_tokens`, `_get_logits_processor`). 0 is a value
and null is none; only values that `generate` treats alike by its own definition have one normal form here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from operator import eq
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.files import FileReader
from ckptconv.base.presence import is_file, lies_at
from ckptconv.base.strict_json import Json, read_json
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.model import without_fixes
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.companions import GENERATION, TOKENIZER

DEFAULTS_FILE = "generation_defaults.json"
"""`generate`: every key of `GenerationConfig` and its default; `config`: the keys of every model's config that
generation takes over, and their defaults there. `fixtures/make_defaults.py` asks the classes and writes it."""
METADATA = ("_from_model_config", "_commit_hash", "_original_object_hash", "transformers_version")
"""Who wrote a file and from what: not what `generate` does."""
FROM_CONFIG = "_from_model_config"
"""True in a file that was made of the config's own keys, which then count where they say something else."""
OBJECTS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")
"""What `generate` returns beside tokens: with any of them it returns an object."""

ConfigValues: TypeAlias = Mapping[str, Json]


@cache
def _defaults(kind: str) -> dict[str, Json]:
    section = read_json(Path(__file__).parents[1] / "schema" / DEFAULTS_FILE)[kind]
    assert isinstance(section, dict)
    return section


def generate_defaults() -> ConfigValues:
    """Return every key of `GenerationConfig` and its default."""
    return _defaults("generate")


def config_defaults() -> ConfigValues:
    """Return the keys of every model's config that generation takes over, and their defaults there."""
    return _defaults("config")


def resolved(file: ConfigValues | None, root: Config, decoder: Config | None) -> dict[str, Json]:
    """Return the settings that `generate` goes by, with every default.

    Args: file: generation_config.json; None where there is none. root: the whole's config. decoder: the
    decoder's own, with its class's defaults; None for a model of one piece.
    """
    if file is None or (file.get(FROM_CONFIG) and _overrules(root, decoder)):
        return _from_config(root, decoder)
    values = dict(generate_defaults())
    for key, value in file.items():
        # of a file made from a config, what is no key of generation's is not taken over
        if key not in METADATA and (key in values or not file.get(FROM_CONFIG)):
            values[key] = value
    return values


def _overrules(root: Config, decoder: Config | None) -> bool:
    """Tell whether a config says something other than its defaults: then it counts, and not the file made from it.

    A composite's class has no defaults of its own, so its decoder's class gives them.
    """
    usual = {**config_defaults(), **(decoder or root).defaults}
    stated = {key: root.values.get(key, default) for key, default in config_defaults().items()}
    return any(value is not None and value != usual[key] for key, value in stated.items())


def _from_config(root: Config, decoder: Config | None) -> dict[str, Json]:
    """Return what `from_model_config` makes: the whole's keys that are not null; for unset ones, the decoder's."""
    values = dict(generate_defaults())
    stated = {**root.defaults, **root.values}
    values |= {key: stated[key] for key in values if stated.get(key) is not None}
    if decoder is not None:
        stated = {**decoder.defaults, **decoder.values}
        unset = [key for key, default in generate_defaults().items() if values[key] == default]
        values |= {key: stated[key] for key in unset if key in stated}
    if values["return_dict_in_generate"] is False and any(values[key] for key in OBJECTS):
        values["return_dict_in_generate"] = True
    return values


def normal(values: ConfigValues) -> dict[str, Json]:
    """Return settings in a form in which two are equal exactly when `generate` cannot tell them apart.

    Args: values: as `resolved` returns them.
    """
    form = {key: NORMAL.get(key, _as_stated)(value) for key, value in values.items()}
    form |= dict(_tokens(form))
    if form["max_new_tokens"] is not None:
        form["max_length"] = None  # which nothing reads then
    if form["penalty_alpha"] is not None:
        form["do_sample"] = values["do_sample"]  # false alone chooses a contrastive search
    if form["min_new_tokens"] == 0 and form["min_length"] == 0:
        form["min_new_tokens"] = None
    # Python takes false for 0, which a class that asks for a boolean does not
    return {key: f"<{value}>" if isinstance(value, bool) else value for key, value in form.items()}


def _tokens(form: ConfigValues) -> Iterator[tuple[str, Json]]:
    """Return the tokens as `_prepare_special_tokens` completes them: from the first end padding, from bos the start."""
    start, ends, pad = (
        form[key] for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id")
    )
    if isinstance(ends, list) and ends:
        yield "pad_token_id", ends[0] if pad is None else pad
        tokens = [token for token in ends if type(token) is int]
        if len(tokens) == len(ends):  # in any order
            yield "eos_token_id", [*sorted(set(tokens))]
    begin = form["bos_token_id"]
    yield "decoder_start_token_id", begin if start is None else start
    if _is_token(begin):
        yield "bos_token_id", None  # read for nothing else


def _is_token(value: Json) -> bool:
    """Tell whether a value is a token, or a list of them; anything else makes the class fail."""
    tokens = value if isinstance(value, list) else [value]
    return all(type(token) is int for token in tokens)


def _as_stated(value: Json) -> Json:
    return value


def _listed(value: Json) -> Json:
    """Return one end as a list of one."""
    return [value] if type(value) is int else value


def _flag(value: Json) -> Json:
    """Return what is no yes as false."""
    return value or False


def _tokens_or_none(value: Json) -> Json:
    """Return no tokens as none."""
    return None if value == [] else value


def _off(form: Json, is_off: Callable[[float], bool]) -> Callable[[Json], Json]:
    """Return what gives null, and every number with which a setting is off, one form."""

    def normal_form(value: Json) -> Json:
        if value is None:
            return form
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return form if number and is_off(float(str(value))) else value

    return normal_form


_FACTOR = _off(1.0, lambda number: number == 1)
_COUNT = _off(0, lambda number: number <= 0)
_SHARE_KEPT = _off(1.0, lambda number: number >= 1)
_SHARE_CUT = _off(0.0, lambda number: not 0 < number < 1)
NORMAL: Mapping[str, Callable[[Json], Json]] = {
    "begin_suppress_tokens": _tokens_or_none,
    "disable_compile": _flag,
    "do_sample": _flag,
    "encoder_no_repeat_ngram_size": _COUNT,
    "encoder_repetition_penalty": _FACTOR,
    "eos_token_id": _listed,
    "epsilon_cutoff": _SHARE_CUT,
    "eta_cutoff": _SHARE_CUT,
    "guidance_scale": _off(None, lambda number: number == 1),
    "low_memory": _flag,
    "min_length": _COUNT,
    "min_p": _off(None, lambda number: number == 0),
    "no_repeat_ngram_size": _COUNT,
    "output_attentions": _flag,
    "output_hidden_states": _flag,
    "output_logits": _flag,
    "output_scores": _flag,
    "penalty_alpha": _off(None, lambda number: number <= 0),
    "remove_invalid_values": _flag,
    "renormalize_logits": _flag,
    "repetition_penalty": _FACTOR,
    "return_dict_in_generate": _flag,
    "return_legacy_cache": _flag,
    "suppress_tokens": _tokens_or_none,
    "temperature": _FACTOR,
    "token_healing": _flag,
    "top_k": _off(0, lambda number: number == 0),
    "top_p": _SHARE_KEPT,
    "typical_p": _SHARE_KEPT,
}
"""Key -> what gives one form to the values that `generate` treats alike."""


BOOKKEEPING = frozenset(
    {
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "auto_map",
        "ckptconv",
        "dtype",
        "finetuning_task",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "label2id",
        "problem_type",
        "task_specific_params",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "transformers.js_config",
    }
)
"""Who saved it, how training began, what labels are called: nothing that an answer depends on."""
OF_OTHER_HEADS = frozenset(
    {
        "embed_init_std",
        "end_n_top",
        "init_std",
        "pooler_hidden_act",
        "pooler_hidden_size",
        "start_n_top",
        "summary_activation",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    }
)
"""How a family begins, and heads and poolers that no encoder-decoder reads; some follow from other keys."""
SETTINGS = frozenset(
    {
        "_attn_implementation",
        "attn_implementation",
        "chunk_size_feed_forward",
        "gradient_checkpointing",
        "is_encoder_decoder",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "return_dict",
        "return_dict_in_generate",
        "torchscript",
        "use_bfloat16",
        "use_cache",
        "tf_legacy_loss",
    }
)
"""What a caller gets back, and how it is computed; not what."""
MODEL_TOKENS = frozenset({"bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id"})
"""Tokens that a model reads as well as `generate`: for positions, embeddings, and labels that become inputs."""
COMMON: Mapping[str, Json] = {"pruned_heads": {}, "tie_word_embeddings": True}
"""Keys of every config -> their defaults in transformers 4.57.6, beside those of generation."""
DERIVED = frozenset(
    {
        "attention_layers",
        "d_head",
        "decoder_vocab_size",
        "embedding_size",
        "head_dim",
        "num_hidden_layers",
        "true_hidden_size",
    }
)
"""What a class works out from other keys where the file leaves it out: compared only where both files state it, or
the family's table has a default."""
DEFAULTS = "config_defaults.json"
"""Family -> more of its config class's defaults, as `fixtures/make_defaults.py` wrote them down."""


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """One key with two values."""

    key: str
    """With the side before it: `decoder.layer_norm_eps`."""
    first: Json
    """None where the config does not say and the family has no default."""
    second: Json


def config_differences(first: Config, second: Config) -> tuple[ConfigDifference, ...]:
    """Compare two configs, with each family's defaults for what the file leaves out.

    What cannot change an answer is left out: dropout, labels, versions, dtypes, what a forward pass returns. So
    are the settings of generation, which `resolved` takes as `generate` does: a config's are not always read.
    """
    return tuple(_differences("", with_defaults(first), with_defaults(second)))


def with_defaults(config: Config) -> Config:
    """Read a config with its class's defaults, if there is a table for its family."""
    common = {**COMMON, **config_defaults()}
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return config.read_as(common, {})
    return config.read_as(
        {**common, **_class_defaults(family.model_type), **family.defaults}, family.aliases
    )


def stated_defaults(model_type: str) -> Mapping[str, Json]:
    """Return what the config class of a family fills in; nothing for one without a table."""
    family = FAMILIES.get(model_type)
    return {} if family is None else {**_class_defaults(model_type), **family.defaults}


@cache
def _every_default() -> dict[str, Json]:
    return read_json(Path(__file__).parents[1] / "schema" / DEFAULTS)


def _class_defaults(model_type: str) -> dict[str, Json]:
    """Return what a family's config class fills in and its table does not state, such as an epsilon."""
    defaults = _every_default().get(model_type)
    return defaults if isinstance(defaults, dict) else {}


def _differences(prefix: str, left: Config, right: Config) -> Iterator[ConfigDifference]:
    """Compare one level; the sides are levels of their own."""
    for key in sorted(
        {config.aliases.get(key, key) for config in (left, right) for key in config.values}
    ):
        first, second = _value(left, key), _value(right, key)
        if is_idle(key) or is_generation(key) or (key in DERIVED and None in (first, second)):
            continue
        if isinstance(first, dict) and isinstance(second, dict):
            sides = (with_defaults(config.part(key)) for config in (left, right))
            yield from _differences(f"{prefix}{key}.", *sides)
        elif first != second and not (_is_no(first) and _is_no(second)):
            yield ConfigDifference(f"{prefix}{key}", first, second)


def _value(config: Config, key: str) -> Json:
    """Return what a config says under the family's own key or the common name for it."""
    common = next((name for name, own in config.aliases.items() if own == key), key)
    return config.get(common)


def _is_no(value: Json) -> bool:
    """Tell whether a value is absent, null or false, which are one and the same; 0 is a value."""
    return value is None or value is False


def is_idle(key: str) -> bool:
    """Tell whether no answer depends on a key."""
    dropout = "dropout" in key or key.endswith(("_drop", "pdrop", "layerdrop"))
    return dropout or key in BOOKKEEPING or key in SETTINGS or key in OF_OTHER_HEADS


def is_generation(key: str) -> bool:
    """Tell whether `generate` alone reads a key."""
    return key in generate_defaults() and key not in MODEL_TOKENS


def tokenizer_notices(first: Path, second: Path, names: tuple[str, str]) -> Iterator[str]:
    """Say in one sentence which files of the tokenizers differ, or which side lacks them; nothing where none does.

    Args: names: what to call the two checkpoints, such as "the source" and "the target".
    Raises: SourceError: a file cannot be read, or is a link that leads out of its checkpoint.
    """
    changed: list[str] = []
    alone: dict[str, list[str]] = {name: [] for name in names}
    for file in TOKENIZER:
        there = [lies_at(folder / file) for folder in (first, second)]
        if all(there):
            if not _equal(first / file, second / file):
                changed.append(file)
        elif any(there):
            alone[names[there.index(True)]].append(file)
    reasons = (
        [f"{', '.join(changed)} differ" + ("s" if len(changed) == 1 else "")] if changed else []
    )
    reasons += [f"only {name} has {', '.join(files)}" for name, files in alone.items() if files]
    if reasons:
        yield f"the tokenizers are not the same files: {'; '.join(reasons)}"


def _equal(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same bytes."""
    with FileReader(first) as left, FileReader(second) as right:
        return left.size == right.size and all(map(eq, left.blocks(), right.blocks()))


def differing_settings(source: Checkpoint, target: Checkpoint) -> tuple[ConfigDifference, ...]:
    """Return the keys that matter and have different values: the config's, then those of generation.

    The latter begin with `generation_config.`, and are left out where the config differs in the same key.
    Raises: SourceError: a config is malformed.
    """
    return settings_apart(
        source.config, generation_file(source.path), target.config, generation_file(target.path)
    )


def settings_apart(
    source: Config,
    source_file: Mapping[str, Json] | None,
    target: Config,
    target_file: Mapping[str, Json] | None,
) -> tuple[ConfigDifference, ...]:
    """Return the same of configs, and of what `generation_config.json` holds; None where there is no such file."""
    first, second = without_fixes(source), without_fixes(target)
    differences = config_differences(first, second)
    named = {difference.key for difference in differences}
    generation = _generation_differences(
        _resolved(source_file, first), _resolved(target_file, second)
    )
    return (
        *differences,
        *(
            ConfigDifference(f"generation_config.{key}", *values)
            for key, values in generation
            if not named & {key, f"decoder.{key}"}
        ),
    )


def generation_file(checkpoint: Path) -> dict[str, Json] | None:
    """Return what `generation_config.json` holds; None where there is none."""
    path = checkpoint / GENERATION
    return read_json(path) if is_file(path) else None


def _resolved(file: Mapping[str, Json] | None, config: Config) -> dict[str, Json]:
    """Return the settings of generation of one checkpoint."""
    is_composite = isinstance(config.values.get("decoder"), dict)
    decoder = with_defaults(config.part("decoder")) if is_composite else None
    return resolved(file, with_defaults(config), decoder)


def _generation_differences(
    first: Mapping[str, Json], second: Mapping[str, Json]
) -> Iterator[tuple[str, tuple[Json, Json]]]:
    """Return key -> both values as they are stated, of what `generate` can tell apart."""
    forms = normal(first), normal(second)
    keys = {
        key for key in forms[0].keys() | forms[1].keys() if forms[0].get(key) != forms[1].get(key)
    }
    if "decoder_start_token_id" in keys:
        keys.add("bos_token_id")  # stands in for it
    for key in sorted(keys):
        values = first.get(key), second.get(key)
        if repr(values[0]) != repr(values[1]):
            yield key, values
