"""What `inspect` finds: pure data, complete enough for every rendering."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ckptconv.base.errors import Problem
from ckptconv.base.results import PagedResult
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.tensor import TensorSpec

if TYPE_CHECKING:
    from ckptconv.compare.statistics import (
        Statistics,  # imports numpy, which plain inspection does without
    )

Sign: TypeAlias = Literal["not finite", "new", "duplicated", "constant"]


@dataclass(frozen=True, slots=True)
class SideSummary:
    """One model of a pair, or the one that there is: what its config says. None: it does not say."""

    role: str
    """`encoder`, `decoder`, or `model` where no table knows it."""
    model_type: str
    layers: int | None
    hidden: int | None
    """Width of the layers."""
    heads: int | None
    vocabulary: int | None


@dataclass(frozen=True, slots=True)
class PartSummary:
    """One part of the model: encoder, cross-attention, decoder, head, bridge."""

    name: str
    tensors: int
    parameters: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class TensorLine:
    """One stored tensor."""

    spec: TensorSpec
    part: str
    """Empty where no table knows the tensor."""
    layer: int | None
    """Number of its layer; None for what belongs to no layer."""
    file: str
    """Name of the file that holds it."""
    statistics: Statistics | None = None
    signs: tuple[Sign, ...] = ()
    """What `--stats` found suspicious about it."""


@dataclass(frozen=True, slots=True)
class Tie:
    """Two names of one tensor, as the config says."""

    name: str
    repeats: str
    stored: bool
    """True where the file holds it under both names."""
    difference: str | None = None
    """Stored twice and compared: empty where equal, else how far apart. None: not compared."""

    @property
    def broken(self) -> bool:
        """True where the two that must be one are known to differ."""
        return bool(self.difference)


@dataclass(frozen=True, slots=True)
class Target:
    """Whether a verb would take this checkpoint."""

    verb: str
    """As typed: `pt2tf`; or `join (as encoder)`."""
    refusal: str = ""
    """Why not; empty where it would."""
    conditions: tuple[str, ...] = ()
    """What the verb will compare before it writes, where nobody has yet: one sentence each."""
    notices: tuple[str, ...] = ()
    """What the verb would say: one sentence each."""

    @property
    def converts(self) -> bool:
        """True where the verb would write."""
        return not self.refusal


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the values that a user should know."""

    sign: Sign
    tensors: tuple[str, ...]
    text: str
    """One sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(PagedResult):
    """What `inspect` found."""

    path: Path
    kind: str
    """`pair`, or another kind of model; `encoder` or `decoder` alone; `bridge`; `other`."""
    pair: str
    """The two model types; empty for what is no encoder-decoder."""
    model_type: str
    saved_by: str
    """Version of transformers that wrote the config; empty where it does not say."""
    naming: NamingName
    format: str
    files: tuple[str, ...]
    file_bytes: int
    """Size of these files, headers included."""
    dtypes: tuple[str, ...]
    parameters: int
    nbytes: int
    """Size of the tensors' data."""
    sides: tuple[SideSummary, ...]
    parts: tuple[PartSummary, ...]
    tensors: tuple[TensorLine, ...]
    """Sorted by name."""
    ties: tuple[Tie, ...]
    problems: tuple[Problem, ...]
    """What is missing or does not fit, against the tables; of a pair also what is left over."""
    unused: tuple[str, ...]
    """Of one model alone: tensors that no encoder or decoder has, such as other heads."""
    refusal: str
    """Why no table can say anything; empty where they can."""
    code_hooks: tuple[str, ...]
    """Keys of the config and files beside it that would make transformers run code."""
    targets: tuple[Target, ...]
    reading: tuple[str, ...] = ()
    """What a user should know of how the weights were read."""
    measured: bool = False
    """True where the values were read, so that `findings` and `statistics` say something."""
    findings: tuple[Finding, ...] = ()
