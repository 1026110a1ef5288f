"""One file = one modality: what a model's encoder eats, and how probes of it are made and read.

The decoder always eats token ids (`token_ids.py`). What only the child calls may import a tokenizer or a processor,
inside its function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ckptconv.base.discovery import Registry
from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array, Batch, InputSupport
from ckptconv.run.token_ids import SpecialTokens
from ckptconv.schema.model import Model

Probes: TypeAlias = dict[str, Array]
"""`PROBE.INPUT` -> array."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line of a user's file: what the encoder gets, and what the decoder is fed with."""

    source: str
    """A sentence; or the path of a file, for other modalities than text."""
    target: str | None = None
    """What the decoder is fed with; None: its start token alone."""


class Modality(Protocol):
    """What the encoder of a model eats."""

    name: str
    """The file's name."""
    reads: str
    """What a family says that its encoder reads: tokens, pixels, samples, features."""
    inputs: Mapping[str, str]
    """The encoder's inputs -> dtype, `int64` or `float32`; the main one first, which a generation begins with."""
    item: str
    """Key of the source in a line of a user's file, such as `text`."""
    generation_probe: str
    """The probe that is generated from."""
    package: str
    """The module that opens the files which lines name; empty where the standard library does."""
    extra: str
    """`pip install 'ckptconv[EXTRA]'` brings that module."""

    def make_probes(self, model: Model, seed: int, supports: Sequence[InputSupport]) -> Probes:
        """Return probes from the config alone, the same for every run, that all runners can answer.

        Args: supports: what each runner's model takes.
        Raises: SourceError: the config lacks a size.
        """
        ...

    def left_out(self, model: Model, supports: Sequence[InputSupport]) -> Iterator[str]:
        """Say which inputs are not tried, and why."""
        ...

    def facts(self, model: Model, special: SpecialTokens) -> dict[str, Json]:
        """Return what the other methods must know of a model where there is no config: in the child, in a trace."""
        ...

    def required(self, model: Model) -> tuple[str, ...]:
        """Return the encoder's inputs that every probe has."""
        ...

    def problems(self, arrays: Batch, model: Model) -> Iterator[str]:
        """Say why arrays from elsewhere, of a user or a trace, cannot be fed to a model."""
        ...

    def completed(self, arrays: Batch, model: Model) -> dict[str, Array]:
        """Return a user's arrays, which have no problems, with all that they leave out."""
        ...

    def encoder_mask(
        self, batch: Batch, facts: Mapping[str, Json], places: int | None = None
    ) -> Array:
        """Return 1 for the encoder's places that count, and 0 for padding, shape (rows, places).

        Args: places: how many there are in a state, where an encoder has states of several lengths; None: as many
        as in the first of them.
        """
        ...

    def generation_inputs(self, batch: Batch) -> dict[str, Array]:
        """Return the inputs of a probe that a generation gets, the main one first."""
        ...

    def encoded(
        self, checkpoint: Path, examples: Sequence[Example], facts: Mapping[str, Json]
    ) -> dict[str, dict[str, Array]]:
        """Return probe -> inputs, by the checkpoint's own tokenizer or processor; in the child."""
        ...

    def answered(
        self, checkpoint: Path, sources: Sequence[str], facts: Mapping[str, Json]
    ) -> tuple[dict[str, Array], Any]:
        """Return the inputs of a generation, and the tokenizer that decodes the answers; in the child."""
        ...


MODALITIES: Registry[str, Modality] = Registry("run.modalities", "MODALITY")
"""Every modality, by name."""


def modality_of(model: Model) -> Modality:
    """Return what a model's encoder eats.

    Raises: SourceError: nothing that probes can be made of.
    """
    by_reading = {modality.reads: modality for modality in MODALITIES.values()}
    if model.reads not in by_reading:
        raise SourceError(
            f"{model.config.where}: {model.label!a} reads {model.reads}, of which ckptconv makes no probes;"
            " `--level weights` compares every tensor"
        )
    return by_reading[model.reads]
