"""One format of artefacts a file: the folder is the registry. A format's libraries are imported inside functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ckptconv.base.discovery import Registry
from ckptconv.base.strict_json import Json

if TYPE_CHECKING:
    from ckptconv.artefacts.generation.settings import Search
    from ckptconv.artefacts.program import Program, Traced


@dataclass(frozen=True, slots=True)
class Work:
    """What a format is given to write."""

    traced: Traced
    search: Search | None
    """None where the class generates with code of its own, and only `encode` and `step` can be had."""
    generate: Program | None
    """The search as a program; None also for a format that `traces_search` itself."""
    folder: Path
    """Holds config.json, the tokenizer's files and `WEIGHTS` already."""
    options: Mapping[str, Json]
    """Of the command line, for this format."""


@dataclass(frozen=True, slots=True)
class UsageExample:
    """What a format puts into the example beside an artefact."""

    needs: str
    """Libraries, in words."""
    imports: str
    """Lines beside numpy's."""
    generate: str
    """Defines `generate(input_ids, attention_mask)`, which returns rows of tokens; `HERE` is the folder."""


@dataclass(frozen=True, slots=True)
class ArtefactFormat:
    """How artefacts of one format are written."""

    name: str
    """As `--format` takes it."""
    extra: str
    """`pip install 'ckptconv[EXTRA]'` brings what writes it."""
    modules: tuple[str, ...]
    """Without which it cannot be written."""
    runner: str
    """File in `run/runners/` that runs it."""
    write: Callable[[Work], Mapping[str, Json]]
    """Writes the programs; returns entries of the artefact's record: `programs`, name -> file, inputs, outputs, and
    `weights`, the names of the stored tensors that are used; `notices`, lines to say, do not stay in the record."""
    example: UsageExample | None = None
    traces_search: bool = False
    """True: `write` makes a program of the search itself, in its own way."""
    keeps_weights: bool = True
    """False: the weights lie in the format's own files, and the safetensors file goes away in the end."""
    option_modules: Mapping[str, str] = field(default_factory=dict)
    """Option -> the module that it needs beside `modules`."""
    options: tuple[str, ...] = ()
    """Options of the command line that are its alone; they come in `Work.options`."""


ARTEFACT_FORMATS: Registry[str, ArtefactFormat] = Registry("artefacts.formats", "FORMAT")
"""Every format, by name; imports none of their libraries."""
