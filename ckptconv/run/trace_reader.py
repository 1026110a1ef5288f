"""Reads a trace. It comes from elsewhere, so everything in it is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, parse_json
from ckptconv.run.answers import Answer
from ckptconv.run.fingerprints import Fingerprint
from ckptconv.run.modalities import Example
from ckptconv.run.trace import KIND, SIDES, VERSION, Question, RecordedArrays, Trace, stored_array
from ckptconv.run.trace_schema import Fields
from ckptconv.run.trace_seal import require_sealed
from ckptconv.schema.vocabulary import NAMINGS
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import Stored

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
            f"{path}: a trace of version {ascii(version)[:40]}; this ckptconv reads versions"
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
        raise SourceError(f"{path}: trace: no answers of the source")
    naming = fields.choice("dialect", NAMINGS)
    if "reference" not in answers and naming != "pytorch":
        raise SourceError(f"{path}: trace: no reference of PyTorch's")
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
    return {name: fields.texts(name) for name in dict.fromkeys((*NAMINGS, *fields.values))}


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
        runner=fields.choice("framework", NAMINGS),
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
    )


def _fingerprint(name: str, fields: Fields) -> Fingerprint:
    part, dtype = fields.part("sha256"), fields.text("dtype")
    digests = {cast: part.text(cast) for cast in part.values}
    if dtype not in digests or not all(len(digest) == 64 for digest in digests.values()):
        raise SourceError(f"{fields.where}: no sha256 for {ascii(dtype)[:40]}, or one that is none")
    return Fingerprint(name, dtype, fields.sizes("shape"), digests, fields.text("origin"))
