"""What a child process is asked, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import numpy as np

from ckptconv.base.strict_json import Json
from ckptconv.run.modalities import Example
from ckptconv.run.runners import Array


@dataclass(frozen=True, slots=True)
class Job:
    """What one child is asked."""

    runner: str
    """Name of one of `runners()`."""
    checkpoint: Path
    """What it loads: a checkpoint, or an artefact."""
    probes: Mapping[str, Array]
    """As `Modality.make_probes` returns them."""
    precisions: tuple[str, ...] = ("float32",)
    generate: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """Name of a search -> its settings, see `forward.searches`; empty: generate nothing from the probes."""
    generate_from: str = ""
    """The probe whose encoder inputs are generated from."""
    examples: Sequence[Example] = ()
    """What probes are made of with the checkpoint's own tokenizer or processor."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """As `Modality.facts` returns them."""
    texts: Sequence[str] = ()
    """Sentences to answer with the checkpoint's own tokenizer and generation config."""
    coverage: bool = True
    """Whether the reference notes which elements of its parameters the probes reach."""
    modality: str = "text"
    """Name of one of `modalities()`."""
    model_class: str = ""
    """The class in transformers that loads the checkpoint; empty for runners that use none."""

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
        array: Array = self._file[name]
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one child answered."""

    runner: str
    arrays: Mapping[str, Array]
    """`PRECISION/PROBE/QUANTITY` -> floats. `inputs/PROBE.INPUT` -> what examples were turned into.

    Of the search NAME: `NAME/tokens` -> (rows, new tokens), -1 after the end; `float32/NAME/cached` -> logits
    of its steps (rows, steps, vocabulary). Of the reference also `float64/NAME/cached`, from one full pass over
    the same tokens, or `NAME/margins` -> (rows, steps). Of the model's own search: `NAME/exact` -> tokens in float64.
    A search that is beyond the runner has no arrays."""
    problems: tuple[str, ...]
    """What loading met: `missing NAME`, `unexpected NAME`, `mismatched NAME`."""
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
    question = {
        "checkpoint": str(job.checkpoint.absolute()),
        "model_class": job.model_class,
        "modality": job.modality,
        "facts": dict(job.facts),
        "precisions": job.precisions,
        "generate": {name: dict(settings) for name, settings in job.generate.items()},
        "generate_from": job.generate_from,
        "examples": [asdict(example) for example in job.examples],
        "texts": list(job.texts),
        "coverage": job.coverage and job.is_reference,
    }
    (folder / "job.json").write_text(json.dumps(question))
    np.savez(folder / "probes.npz", allow_pickle=False, **dict(job.probes))


def read_report(folder: Path) -> dict[str, Any]:
    """Return what a child reported in its folder besides arrays; empty where it reported nothing."""
    try:
        report: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    except (OSError, ValueError):
        return {}
    return report
