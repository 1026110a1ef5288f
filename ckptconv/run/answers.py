"""What a child process is asked, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.runners import Array
from ckptconv.schema.vocabulary import NamingName


@dataclass(frozen=True, slots=True)
class Job:
    """What one child is asked."""

    framework: NamingName
    checkpoint: Path
    probes: Mapping[str, Array]
    """As `make_probes` returns them."""
    precisions: tuple[str, ...] = ("float32",)
    generate: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """Name -> keyword arguments of a `GenerationConfig`; empty: generate nothing from the probes."""
    generate_from: str = ""
    """The probe whose encoder inputs are generated from."""
    sentences: Sequence[tuple[str, str | None]] = ()
    """Sentences to make probes of with the checkpoint's own tokenizer, each with what the decoder is fed or None."""
    feeding: Mapping[str, Json] = field(default_factory=dict)
    """start, pad: the decoder's tokens. encoder, decoder: how many tokens each may get, or None."""
    texts: Sequence[str] = ()
    """Sentences to answer with the checkpoint's own tokenizer and generation config."""
    coverage: bool = True
    """Whether the reference notes which elements of its parameters the probes reach."""

    @property
    def is_reference(self) -> bool:
        """True where the child gives float64 as well."""
        return "float64" in self.precisions


class Scratch:
    """A temporary directory that lasts as long as something holds it."""

    def __init__(self) -> None:
        """Make the directory."""
        self.path = Path(mkdtemp(prefix="ckptconv-"))
        self.remove = finalize(self, rmtree, self.path, ignore_errors=True)


class StoredArrays(Mapping[str, Array]):
    """The arrays of a child's answer, which stay in its file: each access reads one, so that memory holds one."""

    def __init__(self, path: Path, keep: Scratch | None = None) -> None:
        """Open the file of a child; `keep` is the directory that must last as long as this."""
        self._file: Any = np.load(path, allow_pickle=False)
        self._keep = keep

    def __getitem__(self, name: str) -> Array:
        found: Array = self._file[name]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one child answered."""

    framework: NamingName
    arrays: Mapping[str, Array]
    """`PRECISION/PROBE/QUANTITY` -> floats. `inputs/PROBE.INPUT` -> tokens that sentences were turned into.

    Of the generation NAME: `NAME/tokens` -> (rows, new tokens), -1 after the end; `float32/NAME/cached` -> logits
    of its steps (rows, steps, vocabulary). Of the reference also `float64/NAME/cached`, from one full pass over
    the same tokens, or `NAME/margins` -> (rows, steps)."""
    problems: tuple[str, ...]
    """What loading found: `missing NAME`, `unexpected NAME`, `mismatched NAME`."""
    versions: Mapping[str, str]
    settings: Mapping[str, Json]
    """What was fixed for the run."""
    generation: Mapping[str, Json]
    """The checkpoint's own generation config, where it differs from the defaults."""
    texts: tuple[str, ...]
    loaded: tuple[str, ...]
    """Which of torch, tensorflow and jax the process had imported in the end."""
    seconds: float
    """From start to end of the process [s]."""
    reached: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Of the reference: parameter -> elements that were reached by some probe, and rows with at least one."""


def write_job(job: Job, folder: Path) -> None:
    """Write one job into a new folder, where the child reads it; see `ckptconv.run.runners.__main__`."""
    folder.mkdir()
    asked = {
        "checkpoint": str(job.checkpoint.absolute()),
        "precisions": job.precisions,
        "generate": {name: dict(settings) for name, settings in job.generate.items()},
        "generate_from": job.generate_from,
        "sentences": list(job.sentences),
        "feeding": dict(job.feeding),
        "texts": list(job.texts),
        "coverage": job.coverage and job.is_reference,
    }
    (folder / "job.json").write_text(json.dumps(asked))
    np.savez(folder / "probes.npz", allow_pickle=False, **dict(job.probes))


def read_report(folder: Path) -> dict[str, Any]:
    """Return what a child said in its folder besides arrays; empty where it said nothing."""
    try:
        found: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    except (OSError, ValueError):
        return {}
    return found
