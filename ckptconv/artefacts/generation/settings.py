"""Which search a checkpoint's generation config asks for, as `generate` of transformers 4.57.6 reads it.

Knows no framework. A setting that changes an answer and that no search here has is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ckptconv.base.strict_json import in_words
from ckptconv.run.endings import setting_ids

SettingValue: TypeAlias = Any
EarlyStopping: TypeAlias = bool | Literal["never"]

PROMPT = 1
"""Tokens that an answer begins with: the start token."""
DEFAULT_LENGTH = 20
"""`max_length` that stands for none: as many new tokens then follow the prompt."""


class SettingsError(ValueError):
    """Settings that no search here has, one a line."""


@dataclass(frozen=True, slots=True)
class Search:
    """How answers are made. Tokens are ids in the decoder's vocabulary."""

    start: int
    pad: int
    """What follows an end in a row; for a search without ends, any."""
    ends: tuple[int, ...]
    """Tokens that end an answer; () runs to the full length."""
    max_length: int
    """Tokens of an answer, the start token included."""
    min_length: int = 0
    beams: int = 1
    early_stopping: EarlyStopping = False
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    biases: tuple[tuple[tuple[int, ...], float], ...] = ()
    """`sequence_bias`: what is added to the score of a sequence's last token where the others precede it."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Sequences that are never completed."""
    forced_bos: int | None = None
    forced_eos: tuple[int, ...] = ()
    remove_invalid: bool = False
    decay: tuple[int, float] | None = None
    """`exponential_decay_length_penalty`: after so many new tokens, by which factor the end grows likelier."""
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()
    samples: bool = False
    temperature: float = 1.0
    top_k: int = 0
    """0 takes all."""
    top_p: float = 1.0
    renormalizes: bool = False

    @property
    def begin(self) -> int:
        """Length at which `begin_suppressed` counts: after a token that is forced."""
        return PROMPT + (self.forced_bos is not None)

    @property
    def candidates(self) -> int:
        """How many continuations of each beam are looked at: enough that not all of them can be ends."""
        return max(2, 1 + len(self.ends))


def _is_on(value: SettingValue) -> bool:
    return value is not None and value is not False


def _is_not(usual: SettingValue) -> Callable[[SettingValue], bool]:
    return lambda value: value is not None and value != usual


UNSUPPORTED: dict[str, Callable[[SettingValue], bool]] = {
    "guidance_scale": _is_not(1),
    "watermarking_config": _is_on,
    "stop_strings": _is_on,
    "max_time": _is_on,
    "token_healing": _is_on,
    "constraints": _is_on,
    "force_words_ids": _is_on,
    "num_beam_groups": _is_not(1),
    "prompt_lookup_num_tokens": _is_on,
    "assistant_early_exit": _is_on,
    "dola_layers": _is_on,
    "num_return_sequences": _is_not(1),
    "low_memory": _is_on,
}
"""Setting -> does this value change an answer?"""
UNSUPPORTED_SAMPLING: dict[str, Callable[[SettingValue], bool]] = {
    "min_p": _is_on,
    "typical_p": _is_not(1.0),
    "epsilon_cutoff": _is_not(0.0),
    "eta_cutoff": _is_not(0.0),
}
"""The same, of settings that count only where tokens are drawn."""


def search_of(settings: Mapping[str, SettingValue], position_limit: int | None = None) -> Search:
    """Return the search that a generation config asks for.

    Args: settings: every key of `GenerationConfig.to_dict()`. position_limit: `max_position_embeddings` of the class's
    own config, which caps the default length.
    Raises: SettingsError: settings that no search here has, or tokens that are missing.
    """
    problems = list(_problems(settings))
    if problems:
        raise SettingsError("\n".join(problems))
    ends = _tokens(settings.get("eos_token_id"))
    pad = settings.get("pad_token_id")
    return Search(
        start=_start(settings),
        pad=int(pad) if pad is not None else (ends[0] if ends else 0),
        ends=ends,
        max_length=_max_length(settings, position_limit),
        min_length=_min_length(settings, ends),
        beams=int(settings.get("num_beams") or 1),
        early_stopping=settings.get("early_stopping") or False,
        length_penalty=_number(settings, "length_penalty", 1.0),
        repetition_penalty=_number(settings, "repetition_penalty", 1.0),
        encoder_repetition_penalty=_number(settings, "encoder_repetition_penalty", 1.0),
        no_repeat_ngram_size=max(0, int(settings.get("no_repeat_ngram_size") or 0)),
        encoder_no_repeat_ngram_size=max(0, int(settings.get("encoder_no_repeat_ngram_size") or 0)),
        biases=_biases(settings.get("sequence_bias")),
        bad_words=_bad_words(settings.get("bad_words_ids"), ends),
        forced_bos=settings.get("forced_bos_token_id"),
        forced_eos=_tokens(settings.get("forced_eos_token_id")),
        remove_invalid=settings.get("remove_invalid_values") is True,
        decay=_decay(settings.get("exponential_decay_length_penalty")),
        suppressed=_tokens(settings.get("suppress_tokens")),
        begin_suppressed=_tokens(settings.get("begin_suppress_tokens")),
        samples=bool(settings.get("do_sample")),
        temperature=_number(settings, "temperature", 1.0),
        top_k=int(settings.get("top_k") or 0),
        top_p=_number(settings, "top_p", 1.0),
        renormalizes=settings.get("renormalize_logits") is True,
    )


def _problems(settings: Mapping[str, SettingValue]) -> Iterator[str]:
    """Say which settings change an answer and are in no search here."""
    beams, samples = int(settings.get("num_beams") or 1), bool(settings.get("do_sample"))
    unsupported = UNSUPPORTED | (UNSUPPORTED_SAMPLING if samples else {})
    for name, matters in unsupported.items():
        if name in settings and matters(settings[name]):
            yield f"{name} = {in_words(settings[name])} is not supported"
    if samples and beams > 1:
        yield f"do_sample = true with num_beams = {beams} is not supported: sampling takes one beam"
    contrast = settings.get("penalty_alpha")
    if contrast and not samples and beams == 1 and (settings.get("top_k") or 0) > 1:
        yield f"penalty_alpha = {in_words(contrast)} is not supported"
    if settings.get("decoder_start_token_id") is None and settings.get("bos_token_id") is None:
        yield "decoder_start_token_id is missing, and so is bos_token_id: no answer can begin"
    elif not isinstance(_first_set(settings), int):
        yield f"decoder_start_token_id = {in_words(_first_set(settings))} is not supported: it must be one token"


def _first_set(settings: Mapping[str, SettingValue]) -> SettingValue:
    start = settings.get("decoder_start_token_id")
    return settings.get("bos_token_id") if start is None else start


def _start(settings: Mapping[str, SettingValue]) -> int:
    return int(_first_set(settings))


def _max_length(settings: Mapping[str, SettingValue], position_limit: int | None) -> int:
    """Return the longest answer; the default of 20 stands for so many new tokens."""
    new, length = settings.get("max_new_tokens"), settings.get("max_length")
    if new is not None:
        return int(new) + PROMPT
    if length is None or length == DEFAULT_LENGTH:
        length = DEFAULT_LENGTH + PROMPT
        return length if position_limit is None else min(length, position_limit)
    return int(length)


def _min_length(settings: Mapping[str, SettingValue], ends: tuple[int, ...]) -> int:
    """Return below which length no answer may end; `min_new_tokens` takes precedence."""
    new = settings.get("min_new_tokens")
    if not ends:
        return 0
    return int(new) + PROMPT if new is not None else int(settings.get("min_length") or 0)


def _number(settings: Mapping[str, SettingValue], name: str, usual: float) -> float:
    value = settings.get(name)
    return usual if value is None else float(value)


def _tokens(value: SettingValue) -> tuple[int, ...]:
    """Return the ids that a setting names. Raises ValueError: something in it is none."""
    ids = setting_ids(value)
    count = len(value) if isinstance(value, list | tuple) else int(value is not None)
    if len(ids) != count:
        raise ValueError(f"{in_words(value)} does not name tokens")
    return ids


def _biases(value: SettingValue) -> tuple[tuple[tuple[int, ...], float], ...]:
    """Read `sequence_bias`, a list of [tokens, bias] or a mapping."""
    if not value:
        return ()
    pairs = value.items() if isinstance(value, Mapping) else value
    return tuple(
        (tuple(map(int, tokens)), float(bias)) for tokens, bias in dict(_hashable(pairs)).items()
    )


def _hashable(pairs: SettingValue) -> Iterator[tuple[tuple[int, ...], float]]:
    for tokens, bias in pairs:
        yield tuple(tokens), bias


def _bad_words(value: SettingValue, ends: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Read `bad_words_ids`; a sequence that is an end alone is left out, each other one stands once."""
    sequences = (tuple(map(int, tokens)) for tokens in value or ())
    return tuple(
        dict.fromkeys(
            tokens for tokens in sequences if not (len(tokens) == 1 and tokens[0] in ends)
        )
    )


def _decay(value: SettingValue) -> tuple[int, float] | None:
    return None if value is None else (int(value[0]), float(value[1]))
