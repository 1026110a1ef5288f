"""A trace: what a source was fed, what it answered, and digests of its weights, in one file of safetensors.

docs/trace.md has the format. A trace comes from elsewhere, so everything in it is checked before it is used, and every
complaint names the place. It carries a digest of itself, so that a bit that was flipped on the way is no verdict: the
sha256 of the whole file, with zeros where its own 64 digits stand in the header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.files import FileReader
from ckptconv.base.strict_json import Json, in_words, parse_json
from ckptconv.run.children import Answer
from ckptconv.run.endings import Ending
from ckptconv.run.fingerprints import Fingerprint
from ckptconv.run.modalities import Example
from ckptconv.run.runners import Array
from ckptconv.schema.tensors import NAMING_NAMES, NamingName
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import Stored, TensorSpec
from ckptconv.transfer.publish.stage import fsync, replaced
from ckptconv.version import __version__

Text = TypeVar("Text", bound=str)


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object. Every method raises SourceError where a field is absent, or is something else."""

    values: Mapping[str, Json]
    where: str
    """How messages name it."""

    def part(self, key: str) -> Fields:
        """Return an object inside this one."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Fields(value, f"{self.where}: {ascii(key)[1:-1][:200]}")

    def text(self, key: str) -> str:
        """Return a string."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def choice(self, key: str, allowed: Collection[Text]) -> Text:
        """Return one of the strings that are allowed."""
        value = self.values.get(key)
        for text in allowed:
            if value == text:
                return text
        raise self._wrong(key, f"one of {', '.join(allowed)}")

    def integer(self, key: str) -> int:
        """Return an integer."""
        value = self.values.get(key)
        if type(value) is not int:
            raise self._wrong(key, "an integer")
        return value

    def list(self, key: str) -> list[Json]:
        """Return a list."""
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        texts = tuple(value for value in self.list(key) if isinstance(value, str))
        if len(texts) != len(self.list(key)):
            raise self._wrong(key, "a list of strings")
        return texts

    def sizes(self, key: str, count: int | None = None) -> tuple[int, ...]:
        """Return a list of integers of at least 0; `count` of them where that is given."""
        sizes = tuple(value for value in self.list(key) if type(value) is int and value >= 0)
        if len(sizes) != len(self.list(key)) or count not in (None, len(sizes)):
            raise self._wrong(key, "a list of sizes")
        return sizes

    def _wrong(self, key: str, expected: str) -> SourceError:
        return SourceError(f"{self.where}: {ascii(key)[:200]} must be {expected}")


PLACEHOLDER = "0" * 64
BLOCK_BYTES = 1 << 20
LENGTH_BYTES = 8
"""A file of safetensors begins with the length of its header, in so many bytes."""


def seal(path: Path) -> None:
    """Put the digest in the place of its zeros. Raises SourceError, OSError."""
    digest, offset = _digest(path, PLACEHOLDER)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(digest.encode())


def require_sealed(path: Path, declared: str) -> None:
    """Compare a trace with the digest that its metadata has.

    Raises: SourceError: it is another, or none.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", declared) or _digest(path, declared)[0] != declared:
        raise SourceError(
            f"{path}: was changed after it was written: it does not have the sha256 that it carries.\n"
            "Copy or record it again."
        )


def _digest(path: Path, declared: str) -> tuple[str, int]:
    """Return the digest of a file without the digits that it carries, and where those stand."""
    with FileReader(path) as file:
        size = LENGTH_BYTES + int.from_bytes(file.read(0, LENGTH_BYTES), "little")
        header = file.read(0, size)
        quoted = f'"{declared}"'.encode()
        if header.count(quoted) != 1:
            raise SourceError(f"{path}: must carry its own sha256 exactly once")
        digest = sha256(header.replace(quoted, f'"{PLACEHOLDER}"'.encode()))
        for offset in range(size, file.size, BLOCK_BYTES):
            digest.update(file.read(offset, min(BLOCK_BYTES, file.size - offset)))
    return digest.hexdigest(), header.index(quoted) + 1


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
                "endings": [[list(ending.tokens), ending.cut] for ending in answer.endings],
                "unable": dict(answer.unable),
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


UNSEALED = "1"
"""The version of 0.1.0, whose traces have no digest of their own."""


def read_trace(path: Path) -> Trace:
    """Read what `write_trace` wrote; the arrays of the answers stay in the file.

    Raises: SourceError: not a trace, one of another version, or malformed.
    """
    contents = safetensors.FORMAT.read(path)
    if contents.metadata.get("format") != KIND:
        raise SourceError(
            f"{path}: not a trace; `ckptconv verify SOURCE --save-trace FILE` writes one."
        )
    version = contents.metadata.get("version")
    if version not in (VERSION, UNSEALED):
        raise SourceError(
            f"{path}: a trace of version {in_words(version)}; this ckptconv reads versions"
            f" {UNSEALED} and {VERSION}."
        )
    if version != UNSEALED:
        require_sealed(path, contents.metadata.get("sha256", ""))
    fields = Fields(
        parse_json(contents.metadata.get("trace", ""), f"{path}: trace"), f"{path}: trace"
    )
    groups = _groups(path, contents.tensors)
    answers = {
        side: _answer(fields.part("answers").part(side), groups.get(side, {}))
        for side in SIDES
        if side in fields.part("answers").values
    }
    if "source" not in answers:
        raise SourceError(f"{path}: trace: contains no answers of the source")
    naming = fields.choice("dialect", NAMING_NAMES)
    if "reference" not in answers and naming != "pytorch":
        raise SourceError(f"{path}: trace: contains no reference of PyTorch")
    return Trace(
        naming=naming,
        config=fields.part("config").values,
        generation=None
        if fields.values.get("generation_config") is None
        else fields.part("generation_config").values,
        question=_question(fields.part("asked")),
        probes={name: stored_array(stored) for name, stored in groups.get("probes", {}).items()},
        suited=_suited(fields.part("suited")),
        source=answers["source"],
        reference=answers.get("reference", answers["source"]),
        weights={
            name: _fingerprint(name, fields.part("weights").part(name))
            for name in fields.part("weights").values
        },
    )


def _groups(path: Path, tensors: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """Return group -> name -> place. Raises SourceError: a tensor belongs to no group, or is of another dtype."""
    groups: dict[str, dict[str, Stored]] = {}
    for full_name, stored in tensors.items():
        group, _, name = full_name.partition("/")
        if group not in ("probes", *SIDES) or not name or stored.spec.dtype not in _dtypes(name):
            raise SourceError(
                f"{path}: {ascii(full_name)[:200]} of {stored.spec.dtype} has no place in a trace"
            )
        groups.setdefault(group, {})[name] = stored
    return groups


def _suited(fields: Fields) -> dict[str, tuple[str, ...]]:
    """Return runner -> probes; those of artefacts are there where the recording ckptconv had them."""
    return {name: fields.texts(name) for name in dict.fromkeys((*NAMING_NAMES, *fields.values))}


def _dtypes(name: str) -> tuple[str, ...]:
    """Return which dtypes an array of a group may have; which input is which is checked with the model at hand."""
    kind = name.partition("/")[0]
    if kind in ("float32", "float64"):
        return (kind,)
    if "." in name:  # of a probe
        return ("int64", "float32")
    return ("float64",) if name.endswith("/margins") else ("int64",)


def _question(fields: Fields) -> Question:
    generate = fields.part("generate")
    return Question(
        {name: _settings(generate.part(name)) for name in generate.values},
        fields.text("generate_from"),
        fields.texts("texts"),
        tuple(_example(fields, value) for value in fields.list("sentences")),
        fields.part("feeding").values,
        # traces of 0.1 know no other
        fields.text("modality") if "modality" in fields.values else "text",
    )


def _settings(fields: Fields) -> Mapping[str, Json]:
    for key in (
        "num_beams",
        "max_new_tokens",
        "eos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
    ):
        fields.integer(key)
    return fields.values


def _example(fields: Fields, value: Json) -> Example:
    if isinstance(value, list) and len(value) == 2:
        source, target = value
        if isinstance(source, str) and (target is None or isinstance(target, str)):
            return Example(source, target)
    raise SourceError(f"{fields.where}: sentences must be pairs of a text and a text or null")


def _answer(fields: Fields, arrays: Mapping[str, Stored]) -> Answer:
    reached, names = fields.part("reached"), fields.texts("arrays")
    if sorted(names) != sorted(arrays):
        raise SourceError(f"{fields.where}: arrays: not the names of what the file holds")
    return Answer(
        runner=fields.choice("framework", NAMING_NAMES),
        arrays=RecordedArrays({name: arrays[name] for name in names}),
        problems=fields.texts("problems"),
        versions={
            name: fields.part("versions").text(name) for name in fields.part("versions").values
        },
        settings=fields.part("settings").values,
        generation=fields.part("generation").values,
        texts=fields.texts("texts"),
        loaded=(),
        seconds=0.0,
        reached={name: reached.sizes(name, 2) for name in reached.values},
        unable=_unable(fields),
        endings=tuple(_endings(fields)),
    )


def _endings(fields: Fields) -> Iterator[Ending]:
    """Yield how answers to texts ended; older traces have no such key. Raises SourceError: malformed."""
    for value in fields.list("endings") if "endings" in fields.values else ():
        tokens, cut = value if isinstance(value, list) and len(value) == 2 else (None, None)
        if not isinstance(tokens, list) or not isinstance(cut, bool):
            raise SourceError(
                f"{fields.where}: endings: expected pairs of tokens and whether the limit cut them"
            )
        yield Ending(tuple(map(str, tokens)), cut)


def _unable(fields: Fields) -> dict[str, str]:
    """Return the searches that a class could not make; older traces have no such key."""
    if "unable" not in fields.values:
        return {}
    errors = fields.part("unable")
    return {name: errors.text(name) for name in errors.values}


def _fingerprint(name: str, fields: Fields) -> Fingerprint:
    part, dtype = fields.part("sha256"), fields.text("dtype")
    digests = {cast: part.text(cast) for cast in part.values}
    if dtype not in digests or not all(len(digest) == 64 for digest in digests.values()):
        raise SourceError(f"{fields.where}: no sha256 for {ascii(dtype)[:40]}, or one that is none")
    return Fingerprint(name, dtype, fields.sizes("shape"), digests, fields.text("origin"))
