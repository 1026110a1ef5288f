"""What travels along with a model's weights: settings, tokenizer, processor, licence, model card. Never code."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from ckptconv.base.errors import SourceError
from ckptconv.base.files import open_source, read_source
from ckptconv.base.strict_json import Json, dump_json, read_json
from ckptconv.stores.leading_keys import (
    PROCESSOR_FILES,
    SHOWN,
    TOKENIZER_FILES,
    leads,
    notices,
    without_leads,
)
from ckptconv.stores.parsers.first_bytes import HTML, POINTER, START_BYTES, kind_of

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
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError:  # whoever reads the config says why
        return
    for entry in entries:
        if entry.name in (GENERATION, *TOKENIZER, *PROCESSOR) or not _is_folder(entry):
            yield entry.name
        if entry.is_dir(follow_symlinks=False):
            for name in ("config.json", *TOKENIZER, *PROCESSOR):
                if os.path.lexists(source / entry.name / name):
                    yield f"{entry.name}/{name}"


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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a directory, or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


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
        with open(open_source(path), "rb") as file, copy.open("xb") as written:  # noqa: PTH123
            shutil.copyfileobj(file, written, 1 << 20)


def left_behind(source: Path) -> Iterator[str]:
    """Say which code, and which keys that lead elsewhere, do not travel. Raises SourceError: a malformed config."""
    code = sorted(entry.name for entry in source.glob("*.py"))
    if code:
        yield f"left behind: {', '.join(code)} (ckptconv never copies code)"
    config = [source / "config.json"] if os.path.lexists(source / "config.json") else []
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
