"""What the verbs say of an artefact, and what `export` refuses, without a framework."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

import ckptconv
from bundles import litert, saved_model
from ckptconv.artefacts.formats import ARTEFACT_FORMATS
from ckptconv.artefacts.formats.onnx import triton_config
from ckptconv.artefacts.process import require_libraries
from ckptconv.base.errors import FrameworkError, SourceError
from ckptconv.cli.commands.export import export
from ckptconv.stores.layouts.artefacts import LAYOUT
from ckptconv.transfer.manifest import Origin, stored_digest, write_manifest
from ckptconv.verbs.check import check
from ckptconv.verbs.diff import diff
from ckptconv.verbs.inspect import inspect
from ckptconv.verbs.record import record
from ckptconv.verbs.verify import verify
from conftest import Cli, Pair

CONVERTED = "encoder.embeddings.position_embeddings.weight"
"""What LiteRT's converter is said to have cut to the fixed length."""


@pytest.fixture
def source(pair: Pair, tmp_path: Path) -> Path:
    """Write a pair."""
    return pair.write(tmp_path / "source")


@pytest.fixture
def artefact(pair: Pair, source: Path, tmp_path: Path) -> Path:
    """Write a SavedModel of it, but for the programs."""
    return saved_model(source, pair.arrays, tmp_path / "artefact")


def flip(path: Path, offset: int = 1) -> None:
    """Change one byte."""
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def test_the_weights_of_a_saved_model_are_read_without_tensorflow(
    source: Path, artefact: Path
) -> None:
    """`verify` compares them bit for bit, `diff` calls them equal, `inspect` complete."""
    assert verify(source, artefact, "weights").matches
    assert diff(source, artefact).matches
    shown = inspect(artefact)
    assert (shown.format, shown.problems) == ("savedmodel", ())
    for notices in (diff(source, artefact).notices, shown.reading):
        (line,) = (line for line in notices if "an artefact (savedmodel)" in line)
        assert "encode, step" in line
        assert "only its weights" in line


def test_a_changed_byte_is_a_mismatch(source: Path, artefact: Path) -> None:
    """The tensor is named."""
    flip(next((artefact / "variables").glob("*.data-*")))
    verdict = verify(source, artefact, "weights")
    assert len(verdict.weights.differences) == 1
    assert not verdict.matches
    assert not diff(source, artefact).matches


def test_a_saved_model_comes_back_as_a_checkpoint(
    source: Path, artefact: Path, tmp_path: Path
) -> None:
    """`normalize` makes of it what it makes of the checkpoint."""
    for path, name in ((source, "first"), (artefact, "second")):
        ckptconv.normalize(path, tmp_path / name)
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("judge", [verify, record])
def test_an_artefact_proves_nothing(
    judge: Callable[[Path, Path], Any], source: Path, artefact: Path, tmp_path: Path
) -> None:
    """In a source's place only the weights beside its programs would be looked at."""
    with pytest.raises(SourceError, match="ckptconv verify CHECKPOINT ARTEFACT"):
        judge(artefact, source if judge is verify else tmp_path / "trace")


@pytest.mark.parametrize("converted", [CONVERTED, "encoder.pooler.dense.weight"])
def test_what_a_converter_changed_is_said_and_no_difference(
    converted: str, pair: Pair, source: Path, tmp_path: Path
) -> None:
    """LiteRT's turns matrices round and folds tables; everything else is there bit for bit. A pooler may be absent."""
    artefact = litert(source, pair.arrays, tmp_path / "lite", converted)
    verdict = verify(source, artefact, "weights")
    assert verdict.matches, verdict.weights
    assert verdict.weights.tensors == len(pair.arrays) - 1
    assert any(converted in notice for notice in verdict.weights.notices)
    for first, second in ((source, artefact), (artefact, source)):
        assert diff(first, second).matches
        assert any(converted in notice for notice in diff(first, second).notices)
    assert any(converted in notice for notice in inspect(artefact).reading)
    flip(artefact / "model.tflite", 5)
    assert not verify(source, artefact, "weights").matches


def manifested(artefact: Path) -> int:
    """Write an artefact's manifest as `export` does; return how many tensors lie in it."""
    (weights,) = LAYOUT.read(artefact)
    (file,) = weights.files
    digests = {file.relative_to(artefact).as_posix(): stored_digest(file, weights.tensors.values())}
    form = weights.format.name
    origin = Origin("export", {}, "bert -> bert", "pytorch", form, "", (), {})
    write_manifest(artefact, origin, digests)
    return len(weights.tensors)


@pytest.mark.parametrize("form", ["savedmodel", "litert"])
def test_check_counts_and_names_the_tensors_of_an_artefact(
    form: str, pair: Pair, source: Path, tmp_path: Path
) -> None:
    """As `inspect` counts them; one whose byte changed is named, and one that was cut off."""
    if form == "litert":
        artefact = litert(source, pair.arrays, tmp_path / "out", CONVERTED)
    else:
        artefact = saved_model(source, pair.arrays, tmp_path / "out")
    count = manifested(artefact)
    result = check(artefact)
    assert result.whole
    assert result.tensors == count == len(inspect(artefact).tensors)
    assert f"{count} tensors" in str(result)
    (file,) = (
        path for path in artefact.rglob("*") if path.suffix in (".tflite", ".data-00000-of-00001")
    )
    flip(file, 5)
    (line,) = (finding for finding in check(artefact).findings if finding.kind == "tensor")
    assert line.detail == "changed"
    flip(file, 5)
    file.write_bytes(file.read_bytes()[:-4])
    details = {finding.detail for finding in check(artefact).findings if finding.kind == "tensor"}
    assert details == {"beyond the end"}


def test_weights_as_integers_are_a_mismatch(pair: Pair, source: Path, tmp_path: Path) -> None:
    """They are another model's, so what is missing stays missing."""
    loss = {"relative_error": 0.1, "same_best_token": 0.9}
    artefact = litert(source, pair.arrays, tmp_path / "lite", CONVERTED, int8=loss)
    assert [problem.name for problem in verify(source, artefact, "weights").weights.problems] == [
        CONVERTED
    ]
    assert not diff(source, artefact).matches


@pytest.mark.parametrize(
    "place",
    [
        None,
        {"dtype": "float32", "shape": [2], "offset": 1 << 40},
        {"dtype": "float32", "shape": [-2], "offset": 4},
        {"dtype": "string", "shape": [2], "offset": 4},
        {"dtype": "float32", "shape": 2, "offset": 4},
    ],
)
def test_a_record_that_points_nowhere_is_refused(
    place: Any, pair: Pair, source: Path, tmp_path: Path
) -> None:
    """With the file and the tensor, before anything is read."""
    artefact = litert(source, pair.arrays, tmp_path / "lite", CONVERTED)
    path = artefact / "artefact.json"
    values = json.loads(path.read_text())
    values["stored"]["encoder.pooler.dense.bias"] = place
    path.write_text(json.dumps(values))
    with pytest.raises(SourceError, match=r"artefact\.json: stored: .*pooler"):
        verify(source, artefact, "weights")


def test_a_file_of_that_name_makes_no_artefact(source: Path) -> None:
    """Someone else's `artefact.json` beside a checkpoint changes nothing; a damaged one is refused."""
    (source / "artefact.json").write_text('{"kind": "model"}')
    assert verify(source, source, "weights").matches
    (source / "artefact.json").write_text("{")
    with pytest.raises(SourceError, match=r"artefact\.json"):
        verify(source, source, "weights")


def test_an_artefact_is_no_source_of_another(artefact: Path, cli: Cli, tmp_path: Path) -> None:
    """Exit code 3, one line, and nothing written."""
    outcome = cli("export", artefact, tmp_path / "out", "--format", "onnx")
    assert (outcome.code, outcome.out) == (3, "")
    assert "is already an artefact" in outcome.err
    assert not (tmp_path / "out").exists()


def test_every_format_can_be_asked_for() -> None:
    """`--format` names the formats that there are; they stand in full, so that help imports none of them."""
    option = next(option for option in export.params if option.name == "form")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == sorted(ARTEFACT_FORMATS)


def test_a_missing_library_is_named_with_its_extra() -> None:
    """Before any work, and with what to install."""
    form = replace(ARTEFACT_FORMATS["onnx"], modules=("torch", "no_such_library"))
    with pytest.raises(FrameworkError, match=r"needs no_such_library.*\n.*onnx\]"):
        require_libraries(form, {})
    form = replace(ARTEFACT_FORMATS["onnx"], modules=(), option_modules={"orbax": "no_orbax"})
    require_libraries(form, {"orbax": False})
    with pytest.raises(FrameworkError, match="needs no_orbax"):
        require_libraries(form, {"orbax": True})


def test_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`torch.export` is young: a version that was not tried is no version."""
    folder = tmp_path / "torch-2.99.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.99.0\n")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FrameworkError, match=r"tested with torch 2\.13; installed is 2\.99\.0"):
        require_libraries(replace(ARTEFACT_FORMATS["onnx"], modules=("torch",)), {})


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "onnx", "--int8"), "--int8 is an option of --format litert, not of onnx"),
        (("--format", "savedmodel", "--orbax"), "--orbax is an option of --format jax"),
        (("--format", "tflite"), "'tflite'"),
        (("--max-length", "1"), "--max-length"),
    ],
)
def test_options_of_another_format_are_a_question_of_usage(
    options: tuple[str, ...], words: str, source: Path, run: Cli, tmp_path: Path
) -> None:
    """Exit code 2, and nothing written."""
    outcome = run("export", source, tmp_path / "out", *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / "out").exists()


def triton_model() -> Any:
    """Return Triton's ModelConfig, as far as it is used here. Source: model_config.proto of triton-inference-server."""
    pool = pytest.importorskip("google.protobuf.descriptor_pool")
    descriptors = pytest.importorskip("google.protobuf.descriptor_pb2")
    factory = pytest.importorskip("google.protobuf.message_factory")
    kinds = descriptors.FieldDescriptorProto
    file = descriptors.FileDescriptorProto(name="model_config.proto", package="inference")
    types = file.enum_type.add(name="DataType")
    for number, name in ((0, "INVALID"), (1, "BOOL"), (9, "INT64"), (11, "FP32")):
        types.value.add(name=f"TYPE_{name}", number=number)
    for message, dims in (("ModelInput", 4), ("ModelOutput", 3)):
        entry = file.message_type.add(name=message)
        entry.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=1)
        entry.field.add(
            name="data_type", number=2, type=kinds.TYPE_ENUM, type_name="DataType", label=1
        )
        entry.field.add(name="dims", number=dims, type=kinds.TYPE_INT64, label=3)
    config = file.message_type.add(name="ModelConfig")
    config.field.add(name="max_batch_size", number=4, type=kinds.TYPE_INT32, label=1)
    config.field.add(name="default_model_filename", number=8, type=kinds.TYPE_STRING, label=1)
    config.field.add(name="backend", number=17, type=kinds.TYPE_STRING, label=1)
    for number, name, message in ((5, "input", "ModelInput"), (6, "output", "ModelOutput")):
        config.field.add(
            name=name, number=number, type=kinds.TYPE_MESSAGE, type_name=message, label=3
        )
    descriptor = pool.DescriptorPool()
    descriptor.Add(file)
    return factory.GetMessageClass(descriptor.FindMessageTypeByName("inference.ModelConfig"))


def test_tritons_configuration_is_one() -> None:
    """It parses as the protocol buffer that Triton reads; inputs with defaults are left to the graph."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    program = {
        "file": "generate.onnx",
        "inputs": [
            {"name": "input_ids", "dtype": "int64", "shape": ["batch", "length"]},
            {"name": "pixel_values", "dtype": "float", "shape": ["batch", 3, 16, 16]},
            {"name": "max_length", "dtype": "int64", "shape": []},
        ],
        "outputs": [{"name": "sequences", "dtype": "int64", "shape": ["batch", "answer"]}],
    }
    config = text_format.Parse(triton_config(program), triton_model()())
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)
    assert config.default_model_filename == "generate.onnx"
    assert [(entry.name, list(entry.dims)) for entry in (*config.input, *config.output)] == [
        ("input_ids", [-1, -1]),
        ("pixel_values", [-1, 3, 16, 16]),
        ("sequences", [-1, -1]),
    ]
