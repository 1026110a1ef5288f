"""One file = one runner: whatever loads a path and answers a probe.

A runner's framework or runtime is imported inside the functions of its file alone, and these run in a child process of
their own (`python -m ckptconv.run.runners NAME FOLDER...`): so that TF, JAX and PyTorch never share a
process, and the child that answers for the target never sees the source's weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from ckptconv.base.discovery import Registry
from ckptconv.base.strict_json import Json
from ckptconv.compare.configs import METADATA

Array: TypeAlias = NDArray[Any]
Batch: TypeAlias = Mapping[str, Array]
"""One probe: input name -> array; the first axis counts rows."""
Listener: TypeAlias = Callable[[Array, Array], None]
"""Is told each step of a generation: tokens so far (rows, length), scores of the next one (rows, vocabulary)."""
ValidPlaces: TypeAlias = Callable[[Batch, str, tuple[int, ...]], Array | None]
"""(probe, quantity's name, its shape) -> which of its places count; see `Places`."""
JOBS = b"?"
"""What a child reads from its stdin when its jobs are in its folders."""
TURN = b"."
"""What a child reads from its stdin when it may begin."""
ROOM = b"!"
"""What a child reads from its stdin when it may load a model in float64, of twice the size."""


@dataclass(frozen=True, slots=True)
class Process:
    """What a runner's child process needs; known without importing anything."""

    modules: tuple[str, ...]
    """Imported first: without them nothing works."""
    extra: str
    """`pip install 'ckptconv[EXTRA]'` brings them."""
    distributions: tuple[str, ...]
    """Whose versions belong in a report."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the process must have in its environment before the first import."""
    fence: tuple[str, ...] = ()
    """Distributions. Where there are any, the process can import these, what they require, numpy, ckptconv and the
    standard library, and nothing else: as if nothing else were installed."""
    hidden: tuple[str, ...] = ()
    """Modules that its packages would import if they were there, and that nothing here needs."""
    frugal: bool = False
    """True where it holds little more than a model's weights in float32: two such fit where one in float64 does."""


@dataclass(frozen=True, slots=True)
class InputSupport:
    """What the models of a runner can be fed with; probes are made so that every side can answer them."""

    who: str
    """Subject of a notice, such as "Flax's class"."""
    token_types: bool = True
    counted_positions: bool = False
    """True where positions are numbered 0, 1, 2 ... from the first place, whether it is padding or not."""
    decoder_mask: bool = True
    """False where the decoder takes no mask: its padding is then on the right only."""
    encoder_places: int | None = None
    """Places that a row of the encoder can have at most, where shapes are fixed."""
    decoder_places: int | None = None
    """The same of the decoder."""


class Reach(Protocol):
    """Runs probes as `Session.forward` does, and notes which elements of the parameters they depend on."""

    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Run one probe."""
        ...

    def reached(self) -> dict[str, list[int]]:
        """Return parameter -> how many elements were reached, and how many rows of its first axis."""
        ...


class Session(ABC):
    """A model in memory that answers probes."""

    problems: tuple[str, ...] = ()
    """`missing encoder.x`, `unexpected ...`, `mismatched ...`; empty when every tensor was put in its place."""
    settings: Mapping[str, Json] = {}
    """What was fixed so that the answers can be compared: precision, attention kernel, device."""
    generation: Mapping[str, Json] = {}
    """The model's own settings for generation, where they differ from the defaults."""
    compiles: bool = False
    """True where a batch of another size is compiled first, which takes longer than more rows do."""

    @abstractmethod
    def forward(self, batch: Batch, maps: bool = False) -> dict[str, Array]:
        """Return quantity name -> array, in the order of the data flow, of one probe.

        `encoder.last` (rows, places, width) and `logits` (rows, decoder length, vocabulary) are always there. Others
        are: `encoder.0`, the sum of the embeddings after their norm, `encoder.N`, layer N, and the decoder's,
        with the same shape; `encoder.N.attention`, `decoder.N.attention` and `decoder.N.cross` (rows, heads, queries,
        keys), where `maps` asks for them; `loss` ().
        """

    def generate(
        self, inputs: Batch, settings: Mapping[str, Json] | None, listener: Listener | None = None
    ) -> Array | None:
        """Return the decoder's tokens, shape (rows, length), the start tokens first or left out; None: not possible.

        Args: inputs: the encoder's. settings: of a `GenerationConfig`, in the place of the model's own; None: its own.
        """
        return None

    def generate_beams(
        self, inputs: Batch, beams: int, listener: Listener | None = None
    ) -> Array | None:
        """Return tokens as `generate` does, by the model's own settings but for the number of beams."""
        own = {key: value for key, value in self.generation.items() if key not in METADATA}
        settings = {**own, "num_beams": beams, "do_sample": False}
        return self.generate(inputs, settings, listener)

    def reach(self, valid: ValidPlaces) -> Reach | None:
        """Return what runs probes with gradients; None: this runner does not measure what is reached."""
        return None


class Runner(ABC):
    """How one framework or runtime is started and asked."""

    name: str
    """The file's name; `framework` in reports and traces."""
    process: Process
    precisions: tuple[str, ...] = ("float32",)
    """Those in which it computes; float64 makes a reference."""

    @abstractmethod
    def support(self, path: Path | None) -> InputSupport:
        """Return what the model at a path can be fed with, or any model where there is none yet.

        Called in the parent: it may read what lies at the path, but imports no framework.
        """

    def require(self, model_class: str) -> None:
        """Check that transformers has the class. Called in the child before anything is loaded.

        Args: model_class: empty for an artefact, which needs none.
        Raises: ImportError, AttributeError: what is needed is not installed.
        """
        if model_class:
            getattr(import_module("transformers"), model_class)

    def use_threads(self, count: int | None) -> None:  # noqa: B027
        """Compute with so many threads from now on, or again with as many as usual. Called in the child.

        Most do not; and some can only before their first step.
        """

    @abstractmethod
    def load(self, path: Path, precision: str, model_class: str) -> Session:
        """Return the model at a path, which computes in that precision. Called in the child.

        Args: model_class: the class in transformers that loads the whole model, for runners that use one.
        """


RUNNERS: Registry[str, Runner] = Registry("run.runners", "RUNNER")
"""Every runner, by name; imports none of what they run."""
