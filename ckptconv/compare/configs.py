"""Two configs -> the keys that matter to the computation and have different values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ckptconv.base.strict_json import Json, read_json
from ckptconv.compare.generation import config_defaults, generate_defaults
from ckptconv.schema.config import Config
from ckptconv.schema.families import families

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


def config_differences(one: Config, other: Config) -> tuple[ConfigDifference, ...]:
    """Compare two configs, with each family's defaults for what the file leaves out.

    What cannot change an answer is left out: dropout, labels, versions, dtypes, what a forward pass returns. So
    are the settings of generation, which `generation.py` resolves: a config's are not always read.
    """
    return tuple(_differences("", with_defaults(one), with_defaults(other)))


def with_defaults(config: Config) -> Config:
    """Read a config with its class's defaults, if there is a table for its family."""
    common = {**COMMON, **config_defaults()}
    family = families().get(str(config.get("model_type")))
    if family is None:
        return config.read_as(common, {})
    return config.read_as(
        {**common, **_class_defaults(family.model_type), **family.defaults}, family.aliases
    )


@cache
def _every_default() -> dict[str, Json]:
    return read_json(Path(__file__).parents[1] / "schema" / DEFAULTS)


def _class_defaults(model_type: str) -> dict[str, Json]:
    """Return what a family's config class fills in and its table does not state, such as an epsilon."""
    defaults = _every_default().get(model_type)
    return defaults if isinstance(defaults, dict) else {}


def _differences(prefix: str, one: Config, other: Config) -> Iterator[ConfigDifference]:
    """Compare one level; the sides are levels of their own."""
    for key in sorted(
        {config.aliases.get(key, key) for config in (one, other) for key in config.values}
    ):
        first, second = _value(one, key), _value(other, key)
        if is_idle(key) or is_generation(key) or (key in DERIVED and None in (first, second)):
            continue
        if isinstance(first, dict) and isinstance(second, dict):
            sides = (with_defaults(config.part(key)) for config in (one, other))
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
