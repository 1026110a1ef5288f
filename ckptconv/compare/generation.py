"""What `generate` goes by: the settings of a checkpoint as transformers 4.57.6 resolves them, key by key.

Source: transformers 4.57.6, generation/configuration_utils.py (`GenerationConfig`, `from_model_config`) and
generation/utils.py (`_prepare_generation_config`, `_prepare_special_tokens`, `_get_logits_processor`). 0 is a value
and null is none; only values that `generate` treats alike by its own definition have one normal form here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from ckptconv.base.strict_json import Json, read_json
from ckptconv.schema.config import Config

DEFAULTS_FILE = "generation_defaults.json"
"""`generate`: every key of `GenerationConfig` and its default; `config`: the keys of every model's config that
generation takes over, and their defaults there. `fixtures/make_defaults.py` asks the classes and writes it."""
METADATA = ("_from_model_config", "_commit_hash", "_original_object_hash", "transformers_version")
"""Who wrote a file and from what: not what `generate` does."""
FROM_CONFIG = "_from_model_config"
"""True in a file that was made of the config's own keys, which then count where they say something else."""
OBJECTS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")
"""What `generate` returns beside tokens: with any of them it returns an object."""

Settings: TypeAlias = Mapping[str, Json]


@cache
def _defaults(kind: str) -> dict[str, Json]:
    section = read_json(Path(__file__).parents[1] / "schema" / DEFAULTS_FILE)[kind]
    assert isinstance(section, dict)
    return section


def generate_defaults() -> Settings:
    """Return every key of `GenerationConfig` and its default."""
    return _defaults("generate")


def config_defaults() -> Settings:
    """Return the keys of every model's config that generation takes over, and their defaults there."""
    return _defaults("config")


def resolved(file: Settings | None, root: Config, decoder: Config | None) -> dict[str, Json]:
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


def normal(values: Settings) -> dict[str, Json]:
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


def _tokens(form: Settings) -> Iterator[tuple[str, Json]]:
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
