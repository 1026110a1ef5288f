"""Reads a trace. It comes from elsewhere, so everything in it is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, parse_json
from ckptconv.run.answers import Answer
from ckptconv.run.fingerprints import Fingerprint
from ckptconv.run.trace import KIND, SIDES, VERSION, Asked, RecordedArrays, Trace, stored_array
from ckptconv.run.trace_schema import Fields
from ckptconv.schema.vocabulary import NAMINGS
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import Stored


def read_trace(path: Path) -> Trace:
    """Read what `write_trace` wrote; the arrays of the answers stay in the file.

    Raises: SourceError: not a trace, one of another version, or malformed.
    """
    contents = safetensors.FORMAT.read(path)
    if contents.metadata.get("format") != KIND:
        raise SourceError(
            f"{path}: not a trace; `ckptconv verify SOURCE --save-trace FILE` writes one."
        )
    if contents.metadata.get("version") != VERSION:
        found = ascii(contents.metadata.get("version"))[:40]
        raise SourceError(
            f"{path}: a trace of version {found}; this ckptconv reads version {VERSION}."
        )
    said = Fields(
        parse_json(contents.metadata.get("trace", ""), f"{path}: trace"), f"{path}: trace"
    )
    groups = _groups(path, contents.tensors)
    answers = {
        side: _answer(said.part("answers").part(side), groups.get(side, {}))
        for side in SIDES
        if side in said.part("answers").values
    }
    if "source" not in answers:
        raise SourceError(f"{path}: trace: no answers of the source")
    naming = said.choice("dialect", NAMINGS)
    if "reference" not in answers and naming != "pytorch":
        raise SourceError(f"{path}: trace: no reference of PyTorch's")
    return Trace(
        naming=naming,
        config=said.part("config").values,
        generation=None
        if said.values.get("generation_config") is None
        else said.part("generation_config").values,
        asked=_asked(said.part("asked")),
        probes={name: stored_array(stored) for name, stored in groups.get("probes", {}).items()},
        suited={name: said.part("suited").texts(name) for name in NAMINGS},
        source=answers["source"],
        reference=answers.get("reference", answers["source"]),
        weights={
            name: _fingerprint(name, said.part("weights").part(name))
            for name in said.part("weights").values
        },
    )


def _groups(path: Path, tensors: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """Return group -> name -> place. Raises SourceError: a tensor belongs to no group, or is of another dtype."""
    found: dict[str, dict[str, Stored]] = {}
    for spelled, stored in tensors.items():
        group, _, name = spelled.partition("/")
        kind = name.partition("/")[0]
        wanted = (
            kind
            if kind in ("float32", "float64")
            else "float64"
            if name.endswith("/margins")
            else "int64"
        )
        if group not in ("probes", *SIDES) or not name or stored.spec.dtype != wanted:
            raise SourceError(
                f"{path}: {ascii(spelled)[:200]} of {stored.spec.dtype} has no place in a trace"
            )
        found.setdefault(group, {})[name] = stored
    return found


def _asked(said: Fields) -> Asked:
    generate = said.part("generate")
    return Asked(
        {name: _settings(generate.part(name)) for name in generate.values},
        said.text("generate_from"),
        said.texts("texts"),
        tuple(_sentence(said, one) for one in said.list("sentences")),
        said.part("feeding").values,
    )


def _settings(said: Fields) -> Mapping[str, Json]:
    for key in (
        "num_beams",
        "max_new_tokens",
        "eos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
    ):
        said.whole(key)
    return said.values


def _sentence(said: Fields, value: Json) -> tuple[str, str | None]:
    if isinstance(value, list) and len(value) == 2:
        text, target = value
        if isinstance(text, str) and (target is None or isinstance(target, str)):
            return text, target
    raise SourceError(f"{said.where}: sentences must be pairs of a text and a text or null")


def _answer(said: Fields, arrays: Mapping[str, Stored]) -> Answer:
    reached, names = said.part("reached"), said.texts("arrays")
    if sorted(names) != sorted(arrays):
        raise SourceError(f"{said.where}: arrays: not the names of what the file holds")
    return Answer(
        framework=said.choice("framework", NAMINGS),
        arrays=RecordedArrays({name: arrays[name] for name in names}),
        problems=said.texts("problems"),
        versions={name: said.part("versions").text(name) for name in said.part("versions").values},
        settings=said.part("settings").values,
        generation=said.part("generation").values,
        texts=said.texts("texts"),
        loaded=(),
        seconds=0.0,
        reached={name: reached.sizes(name, 2) for name in reached.values},
    )


def _fingerprint(name: str, said: Fields) -> Fingerprint:
    digests = said.part("sha256")
    found = {dtype: digests.text(dtype) for dtype in digests.values}
    dtype = said.text("dtype")
    if dtype not in found or not all(len(one) == 64 for one in found.values()):
        raise SourceError(f"{said.where}: no sha256 for {ascii(dtype)[:40]}, or one that is none")
    return Fingerprint(name, dtype, said.sizes("shape"), found, said.text("origin"))
