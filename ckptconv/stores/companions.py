"""What belongs to a model beside its weights and travels along: settings and tokenizer. Never code."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ckptconv.base.files import open_source
from ckptconv.base.strict_json import Json, dump_json, read_json

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

CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code", "_attn_implementation_internal")
"""Config keys that make transformers fetch or run code: from a `.py` beside the model, or from anywhere."""
CONFIGS = ("config.json", GENERATION, "tokenizer_config.json")
"""The files in which transformers looks for them."""
SHOWN = 5
"""Of these keys, in one notice."""


def companions(source: Path, *, generation: bool = True) -> tuple[Path, ...]:
    """Return which of the generation settings and the tokenizer's files lie in a directory."""
    return tuple(source / name for name in _travelling(generation) if (source / name).is_file())


def _travelling(generation: bool) -> tuple[str, ...]:
    """Return the names of what travels."""
    return (*((GENERATION,) if generation else ()), *TOKENIZER)


def require_companions(source: Path, *, generation: bool = True) -> None:
    """Open all that `copy_companions` would copy, so that a dry run refuses what a run would.

    Raises: SourceError: one is no file, a link that leads out of the checkpoint, or not readable.
    """
    for name in _travelling(generation):
        if os.path.lexists(source / name):
            os.close(open_source(source / name))


def copy_companions(source: Path, target: Path, *, generation: bool = True) -> None:
    """Copy the generation settings and the tokenizer's files: byte for byte, but for keys that lead to code.

    Raises: SourceError: one is no file, or a link that leads out of the checkpoint. OSError.
    """
    for name in _travelling(generation):
        if not os.path.lexists(source / name):
            continue
        if name in CONFIGS and any(_hooks(config := read_json(source / name))):
            (target / name).write_bytes(dump_json(_without_hooks(config)))
            continue
        with open(open_source(source / name), "rb") as file, (target / name).open("xb") as copy:  # noqa: PTH123
            shutil.copyfileobj(file, copy, 1 << 20)


def left_behind(source: Path) -> Iterator[str]:
    """Say which code, and which keys that lead to code, do not travel. Raises SourceError: a malformed config."""
    code = sorted(entry.name for entry in source.glob("*.py"))
    if code:
        yield f"left behind: {', '.join(code)} (ckptconv never copies code)"
    for name in CONFIGS:
        hooks = list(_hooks(read_json(source / name))) if os.path.lexists(source / name) else []
        if hooks:
            more = f" and {len(hooks) - SHOWN} more" if len(hooks) > SHOWN else ""
            yield f"left behind: {name}: {', '.join(hooks[:SHOWN])}{more} (keys that make a loader run code)"


def _hooks(value: Json, above: str = "") -> Iterator[str]:
    """Return where keys that lead to code stand, at any depth: `encoder.auto_map`."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _hooks(one, f"{above}{index}.")
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in CODE_KEYS:
                yield above + key
            else:
                yield from _hooks(one, f"{above}{key}.")


def write_config(folder: Path, config: Mapping[str, Json]) -> None:
    """Write config.json as transformers would: sorted, without code hooks or the saver's path."""
    (folder / "config.json").write_bytes(
        dump_json(_without_hooks(config, {*CODE_KEYS, "_name_or_path"}))
    )


def _without_hooks(
    config: Mapping[str, Json], dropped: Collection[str] = CODE_KEYS
) -> dict[str, Json]:
    """Return a config without some keys, at any depth."""

    def clean(value: Json) -> Json:
        if isinstance(value, dict):
            return {key: clean(one) for key, one in value.items() if key not in dropped}
        return [clean(one) for one in value] if isinstance(value, list) else value

    return {key: clean(value) for key, value in config.items() if key not in dropped}
