"""A trace: what a source was fed, what it answered, and digests of its weights, in one file of safetensors.

docs/trace.md has the format; `trace_reader.py` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.run.answers import Answer
from ckptconv.run.fingerprints import Fingerprint
from ckptconv.run.modalities import Example
from ckptconv.run.runners import Array
from ckptconv.run.trace_seal import PLACEHOLDER, seal
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import Stored, TensorSpec
from ckptconv.transfer.publish.file import fsync, replaced
from ckptconv.version import __version__

KIND, VERSION = "ckptconv-trace", "2"
"""What the metadata of the file says under `format` and `version`."""
SIDES = ("source", "reference")


@dataclass(frozen=True, slots=True)
class Question:
    """What the source was asked; the target is asked the same. See `Job`."""

    generate: Mapping[str, Mapping[str, Json]]
    generate_from: str
    texts: tuple[str, ...]
    examples: tuple[Example, ...]
    facts: Mapping[str, Json]
    modality: str = "text"


@dataclass(frozen=True, slots=True)
class Trace:
    """What a source is, what it was asked, and what it answered."""

    naming: NamingName
    """The source's."""
    config: Mapping[str, Json]
    generation: Mapping[str, Json] | None
    """Its generation_config.json; None where there was none."""
    question: Question
    probes: Mapping[str, Array]
    """`PROBE.INPUT` -> array, those for every runner."""
    suited: Mapping[str, tuple[str, ...]]
    """Runner of a target -> the probes that it can answer."""
    source: Answer
    reference: Answer
    """PyTorch's: the source's own, or that of a conversion of it."""
    weights: Mapping[str, Fingerprint]

    @property
    def sides(self) -> dict[str, Answer]:
        """The answers by role, each once."""
        return (
            {"source": self.source}
            if self.reference is self.source
            else dict(zip(SIDES, (self.source, self.reference), strict=True))
        )


class RecordedArrays(Mapping[str, Array]):
    """Arrays that stay in the trace: each access reads one, so that memory holds one."""

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        """Take places in a file."""
        self._stored = stored

    def __getitem__(self, name: str) -> Array:
        return stored_array(self._stored[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def of(self, probes: frozenset[str]) -> RecordedArrays:
        """Return what belongs to some of the probes and searches, or to none: generated tokens."""
        return RecordedArrays(
            {
                name: stored
                for name, stored in self._stored.items()
                if name.partition("/")[0] not in ("float32", "float64")
                or name.split("/")[1] in probes
            }
        )


def stored_array(stored: Stored) -> Array:
    """Read one array. Raises SourceError: the file is shorter than it was."""
    (extent,) = stored.extents
    with stored.path.open("rb") as file:
        file.seek(extent.offset)
        data = file.read(extent.nbytes)
    if len(data) != extent.nbytes:
        raise SourceError(f"{stored.path}: was cut off while it was read")
    return np.frombuffer(data, np.dtype(stored.spec.dtype).newbyteorder("<")).reshape(
        stored.spec.shape
    )


def write_trace(path: Path, trace: Trace) -> int:
    """Write a trace in the place of what has its name; return its size [bytes].

    Raises: DestinationError: it cannot be written; what was there is as it was.
    """
    groups = {
        "probes": trace.probes,
        **{side: answer.arrays for side, answer in trace.sides.items()},
    }
    names = {
        f"{group}/{name}": (group, name) for group, arrays in groups.items() for name in arrays
    }

    def array(name: str) -> Array:
        group, own = names[name]
        return np.asarray(groups[group][own])

    def spec(name: str) -> TensorSpec:
        tensor = array(name)
        return TensorSpec(name, str(tensor.dtype), tensor.shape)

    specs = [spec(name) for name in names]  # one array at a time
    metadata = {
        "format": KIND,
        "version": VERSION,
        "sha256": PLACEHOLDER,
        "trace": json.dumps(_metadata(trace)),
    }
    with replaced(path) as beside:
        places = safetensors.create_with(beside, specs, metadata)
        with beside.open("r+b") as file:
            for name, extents in places.items():
                file.seek(extents[0].offset)
                file.write(np.ascontiguousarray(array(name)).tobytes())
        seal(beside)
        fsync(beside)
        return beside.stat().st_size


def _metadata(trace: Trace) -> dict[str, Any]:
    """Return what stands in the metadata."""
    question = trace.question
    return {
        "ckptconv": __version__,
        "dialect": trace.naming,
        "config": trace.config,
        "generation_config": trace.generation,
        "suited": {runner: list(names) for runner, names in trace.suited.items()},
        "asked": {
            "generate": {name: dict(settings) for name, settings in question.generate.items()},
            "generate_from": question.generate_from,
            "texts": list(question.texts),
            "sentences": [[example.source, example.target] for example in question.examples],
            "feeding": dict(question.facts),
            "modality": question.modality,
        },
        "answers": {
            side: {
                "framework": answer.runner,
                "problems": list(answer.problems),
                "versions": dict(answer.versions),
                "settings": dict(answer.settings),
                "generation": dict(answer.generation),
                "texts": list(answer.texts),
                "reached": {name: list(counts) for name, counts in answer.reached.items()},
                "arrays": list(answer.arrays),
            }
            for side, answer in trace.sides.items()
        },
        "weights": {
            fingerprint.name: {
                "dtype": fingerprint.dtype,
                "shape": list(fingerprint.shape),
                "sha256": dict(fingerprint.sha256),
                "origin": fingerprint.origin,
            }
            for fingerprint in trace.weights.values()
        },
    }
