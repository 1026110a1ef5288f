"""`trace` and `trace_reader`: what is written comes back, and what is malformed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from ckptconv.base.errors import DestinationError, SourceError
from ckptconv.run.endings import Ending
from ckptconv.run.recording import recorded_model
from ckptconv.run.trace import PLACEHOLDER, Trace, read_trace, seal, write_trace
from tracing import made_up

if TYPE_CHECKING:
    from conftest import MakePair

Change = Callable[[dict[str, Any], dict[str, Any], dict[str, str]], object]


@pytest.fixture(scope="module")
def original(make_pair: MakePair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, bytes]:
    """Return a trace, and the bytes of the file that holds it."""
    folder = tmp_path_factory.mktemp("trace")
    trace, _ = made_up(make_pair(), folder / "source")
    nbytes = write_trace(folder / "a.trace", trace)
    assert nbytes == (folder / "a.trace").stat().st_size
    return trace, (folder / "a.trace").read_bytes()


@pytest.fixture
def written(original: tuple[Trace, bytes], tmp_path: Path) -> tuple[Trace, Path]:
    """Return a trace, and a file of one's own that holds it."""
    trace, content = original
    (tmp_path / "a.trace").write_bytes(content)
    return trace, tmp_path / "a.trace"


def test_what_is_written_comes_back(written: tuple[Trace, Path]) -> None:
    """Everything, and the arrays in their order, which is that of the data flow."""
    trace, path = written
    result = read_trace(path)
    assert result.reference is result.source
    for one, second in ((result.probes, trace.probes), (result.source.arrays, trace.source.arrays)):
        assert sorted(one) == sorted(second)
        assert all(
            np.array_equal(one[name], second[name]) and one[name].dtype == second[name].dtype
            for name in one
        )
    assert list(result.source.arrays) == list(trace.source.arrays)
    for name in ("naming", "config", "generation", "question", "suited", "weights"):
        assert getattr(result, name) == getattr(trace, name), name
    for name in ("runner", "problems", "versions", "settings", "generation", "texts", "reached"):
        assert getattr(result.source, name) == getattr(trace.source, name), name
    first = path.read_bytes()
    write_trace(path, result)
    assert path.read_bytes() == first


def test_what_a_class_cannot_do_comes_back(written: tuple[Trace, Path], tmp_path: Path) -> None:
    """A search that fails, and cached steps that are not the full pass, are the source's doing by a trace as well."""
    trace = written[0]
    arrays = {**trace.source.arrays, "greedy/own_steps": np.ones(1, np.int64)}
    source = replace(trace.source, arrays=arrays, unable={"beam": "AttributeError: none"})
    write_trace(tmp_path / "b.trace", replace(trace, source=source, reference=source))
    result = read_trace(tmp_path / "b.trace")
    assert result.source.unable == source.unable
    assert result.reference.arrays["greedy/own_steps"].tolist() == [1]
    assert read_trace(written[1]).source.unable == {}


def test_how_texts_ended_comes_back(written: tuple[Trace, Path], tmp_path: Path) -> None:
    """The words of an answer, and whether its limit cut it; a trace of an older ckptconv does not say."""
    trace = written[0]
    source = replace(trace.source, endings=(Ending(("on", "e"), True),))
    write_trace(tmp_path / "b.trace", replace(trace, source=source))
    assert read_trace(tmp_path / "b.trace").source.endings == source.endings
    older = malformed(
        written[1], lambda said, tensors, meta: said["answers"]["source"].pop("endings")
    )
    assert read_trace(older).source.endings == ()


def test_the_reference_library_reads_it(written: tuple[Trace, Path]) -> None:
    """A trace is a file of safetensors like any other."""
    trace, path = written
    with safe_open(path, "numpy") as file:
        assert file.metadata().keys() == {"format", "version", "trace", "sha256"}
        probe = file.get_tensor("probes/full.input_ids")
        assert np.array_equal(probe, trace.probes["full.input_ids"])


def test_a_trace_that_cannot_be_written(written: tuple[Trace, Path], tmp_path: Path) -> None:
    """A folder that is not there is an error of the destination, and leaves nothing."""
    with pytest.raises(DestinationError, match="does not exist; create it first"):
        write_trace(tmp_path / "no" / "a.trace", written[0])


def malformed(path: Path, change: Change) -> Path:
    """Write a trace once more with the reference library, after a change to its JSON, tensors and metadata."""
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    document = json.loads(metadata["trace"])
    change(document, tensors, metadata)
    metadata.setdefault("trace", json.dumps(document))
    if metadata["trace"] == "same":
        del metadata["trace"]
    else:
        metadata["trace"] = json.dumps(document)
    metadata["sha256"] = PLACEHOLDER
    save_file(tensors, path, metadata)
    seal(path)
    return path


CASES: dict[str, tuple[Change, str]] = {
    "another format": (
        lambda said, tensors, meta: meta.update(format="pt"),
        "not a trace; `ckptconv verify SOURCE",
    ),
    "another version": (
        lambda said, tensors, meta: meta.update(version="3"),
        "a trace of version '3'; this",
    ),
    "no JSON": (lambda said, tensors, meta: meta.update(trace="same"), "trace: not valid JSON"),
    "no source": (
        lambda said, tensors, meta: said["answers"].pop("source"),
        "contains no answers of the source",
    ),
    "no answers": (lambda said, tensors, meta: said.pop("answers"), "'answers' must be an object"),
    "no reference": (
        lambda said, tensors, meta: said.update(dialect="tf"),
        "contains no reference of PyTorch",
    ),
    "a naming": (
        lambda said, tensors, meta: said.update(dialect="jax"),
        "'dialect' must be one of pytorch, tf",
    ),
    "a lost array": (
        lambda said, tensors, meta: tensors.pop("source/greedy/tokens"),
        "arrays: not the names of what",
    ),
    "a stray array": (
        lambda said, tensors, meta: tensors.update(stray=np.zeros(1)),
        "'stray' of float64 has no place",
    ),
    "a dtype": (
        lambda said, tensors, meta: tensors.update(
            {"probes/full.input_ids": np.zeros((3, 17), np.int32)}
        ),
        "'probes/full.input_ids' of int32 has no place in a trace",
    ),
    "texts": (
        lambda said, tensors, meta: said["asked"].update(texts=[1]),
        "'texts' must be a list of strings",
    ),
    "a sentence": (
        lambda said, tensors, meta: said["asked"].update(sentences=[["a"]]),
        "must be pairs of a text and",
    ),
    "a setting": (
        lambda said, tensors, meta: said["asked"]["generate"]["greedy"].update(num_beams="1"),
        "greedy: 'num_beams' must be an integer",
    ),
    "reached": (
        lambda said, tensors, meta: said["answers"]["source"].update(reached={"a": [-1, 2]}),
        "reached: 'a' must be a list of sizes",
    ),
    "endings": (
        lambda said, tensors, meta: said["answers"]["source"].update(endings=[["a", True]]),
        "endings: expected pairs of tokens and whether the limit cut them",
    ),
    "a digest": (
        lambda said, tensors, meta: next(iter(said["weights"].values()))["sha256"].update(
            float32="12"
        ),
        "no sha256 for 'float32', or one that is none",
    ),
    "suited": (lambda said, tensors, meta: said["suited"].pop("tf"), "'tf' must be a list"),
    "a probe that is not there": (
        lambda said, tensors, meta: said["suited"]["tf"].append("more"),
        "refers to probes that are missing from the trace",
    ),
    "a search from nothing": (
        lambda said, tensors, meta: said["asked"].update(generate_from="more"),
        "generates from a probe that is missing from the trace",
    ),
    "half a probe": (
        lambda said, tensors, meta: tensors.pop("probes/full.decoder_input_ids"),
        "probe full: lacks one of attention_mask, decoder_attention_mask, decoder_input_ids, input_ids",
    ),
    "a token": (
        lambda said, tensors, meta: tensors["probes/full.input_ids"].fill(23),
        "probe full: these inputs cannot be used:\n  input_ids: from 23 to 23, but the vocabulary has 23 tokens",
    ),
    "a config": (lambda said, tensors, meta: said["config"].pop("encoder"), "config"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_trace_is_refused(written: tuple[Trace, Path], case: str) -> None:
    """Each ends in a SourceError that begins with the file's name and says what is wrong."""
    change, message = CASES[case]
    path = malformed(written[1], change)
    with pytest.raises(SourceError) as refusal:
        recorded_model(read_trace(path), str(path))
    assert str(refusal.value).startswith(f"{path}: ")
    assert message in str(refusal.value)


def test_every_bit_counts(written: tuple[Trace, Path]) -> None:
    """A bit that was flipped anywhere, in the header, in the digest or in an answer, is a refusal; so is a lost end."""
    path = written[1]
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    places = [*range(0, header, 701), *range(header, len(good), len(good) // 40), len(good) - 1]
    for number, place in enumerate(places):
        data = bytearray(good)
        data[place] ^= 1 << number % 8
        path.write_bytes(data)
        with pytest.raises(SourceError):
            read_trace(path)
    path.write_bytes(good[:-1])
    with pytest.raises(SourceError):
        read_trace(path)
    path.write_bytes(good)
    read_trace(path)


def test_a_trace_of_the_first_version(written: tuple[Trace, Path]) -> None:
    """It has no digest of its own, and is read as before."""
    path = written[1]
    with safe_open(path, "numpy") as file:
        metadata = {"format": "ckptconv-trace", "version": "1", "trace": file.metadata()["trace"]}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    save_file(tensors, path, metadata)
    assert read_trace(path).weights == written[0].weights
