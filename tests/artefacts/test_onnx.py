"""ONNX artefacts answer what PyTorch answers, in a process without PyTorch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptconv.run.runners.pytorch import RUNNER
from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR
from ckptconv.verbs.export import export
from onnx_runs import run

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

DATES = Path(__file__).parents[2] / "fixtures" / "dates"
PAGE = Path(__file__).parents[2] / "docs" / "export" / "onnx.md"
SHAPES = [(5, 11), (1, 2), (2, 29)]
"""Rows and length of inputs; none is what was traced, and the last is as long as the positions go."""


def batch(model: Any, rows: int, length: int) -> dict[str, Any]:
    """Return tokens, and a mask that pads every second row."""
    rng = np.random.default_rng(rows)
    words = min(model.config.encoder.vocab_size, model.config.decoder.vocab_size)
    ids = rng.integers(5, words, (rows, length))
    mask = np.ones_like(ids)
    mask[1::2, length // 2 :] = 0
    pad = model.config.encoder.pad_token_id
    return {"input_ids": np.where(mask, ids, 0 if pad is None else pad), "attention_mask": mask}


def pytorch_model(folder: Path, precision: str = "float32") -> Any:
    """Load the class, as verify does."""
    return RUNNER.load(folder, precision, "EncoderDecoderModel").model


def generated(model: Any, inputs: dict[str, Any], **settings: Any) -> Any:
    """Return what PyTorch's generate answers, with scores where it searches with beams."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    return model.generate(**tensors, **settings, return_dict_in_generate=True, output_scores=True)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["beams", "greedy"])
@pytest.mark.parametrize(("rows", "length"), SHAPES)
def test_generate_answers_what_pytorch_answers(
    name: str, rows: int, length: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Token for token, padding included, by the checkpoint's own settings, at sizes that were not traced."""
    artefact = request.getfixturevalue(name)
    model = pytorch_model(artefact.source)
    inputs = batch(model, rows, length)
    answer, expected = run(artefact.target, tmp_path, **inputs), generated(model, inputs)
    np.testing.assert_array_equal(answer["sequences"], expected.sequences.numpy())
    assert len(np.unique(answer["sequences"])) > 4, "a search that repeats one token proves little"
    if name == "beams":
        scores = expected.sequences_scores.numpy()
        np.testing.assert_allclose(answer["sequences_scores"], scores, rtol=1e-4)


@pytest.mark.soak
def test_controls_are_settings_of_one_call(beams: Any, tmp_path: Path) -> None:
    """A caller sets lengths, beams and penalties, and the answer is PyTorch's with these settings."""
    model = pytorch_model(beams.source)
    inputs = batch(model, 4, 9)
    changed = {"max_length": 9, "num_beams": 3, "min_length": 3}
    floats = {"length_penalty": 0.5, "repetition_penalty": 1.4}
    controls = {f"control.{key}": np.array(value) for key, value in changed.items()}
    controls |= {f"control.{key}": np.array(value, np.float32) for key, value in floats.items()}
    answer = run(beams.target, tmp_path, **inputs, **controls)
    expected = generated(model, inputs, **changed, **floats)
    np.testing.assert_array_equal(answer["sequences"], expected.sequences.numpy())


@pytest.mark.soak
@pytest.mark.parametrize("name", ["beams", "greedy"])
def test_every_cached_step_is_within_the_yardstick(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Against full passes in float64, with noise in the buffers beyond each position."""
    artefact = request.getfixturevalue(name)
    sessions = [
        RUNNER.load(artefact.source, kind, "EncoderDecoderModel") for kind in ("float32", "float64")
    ]
    inputs = batch(sessions[0].model, 3, 13)
    words = sessions[0].model.config.decoder.vocab_size
    tokens = np.random.default_rng(1).integers(5, words, (3, 17))
    answer = run(artefact.target, tmp_path, **inputs, decoder_input_ids=tokens)["logits"]
    whole = inputs | {"decoder_input_ids": tokens, "decoder_attention_mask": np.ones_like(tokens)}
    rounded, reference = (
        session.forward(whole)["logits"].astype(np.float64) for session in sessions
    )
    error, own = answer - reference, rounded - reference
    assert np.sqrt(np.mean(error**2)) <= RMS_FACTOR * np.sqrt(np.mean(own**2))
    assert np.abs(error).max() <= MAX_FACTOR * np.abs(own).max()


@pytest.mark.soak
@pytest.mark.parametrize(("name", "limit"), [("beams", 29), ("greedy", 29)])
def test_an_input_beyond_the_positions_is_refused(
    name: str, limit: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As PyTorch refuses it; the record names the limit."""
    artefact = request.getfixturevalue(name)
    record = json.loads((artefact.target / "artefact.json").read_text())
    assert record["limits"]["encoder"] == limit
    inputs = batch(pytorch_model(artefact.source), 2, limit + 1)
    with pytest.raises(RuntimeError, match=r"Gather|out of"):
        run(artefact.target, tmp_path, **inputs)


@pytest.mark.soak
def test_an_answer_beyond_the_positions_is_refused(beams: Any, tmp_path: Path) -> None:
    """A search that runs past the decoder's last position fails, as PyTorch's does."""
    limit = json.loads((beams.target / "artefact.json").read_text())["limits"]["decoder"]
    inputs = batch(pytorch_model(beams.source), 2, 7)
    for length in (limit + 1, limit + 2):
        controls = {f"control.{key}": np.array(length) for key in ("max_length", "min_length")}
        if length == limit + 1:
            assert run(beams.target, tmp_path, **inputs, **controls)["sequences"].shape[1] == length
            continue
        with pytest.raises(RuntimeError, match=r"Gather|out of|broadcast"):
            run(beams.target, tmp_path, **inputs, **controls)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["beams", "greedy"])
def test_weights_are_stored_once(name: str, request: pytest.FixtureRequest) -> None:
    """Every matrix of every graph lies in the one safetensors file, at the place of the checkpoint's own bytes."""
    import onnx

    artefact = request.getfixturevalue(name)
    size = (artefact.target / "model.safetensors").stat().st_size
    for file in artefact.target.glob("*.onnx"):
        model = onnx.load(file, load_external_data=False)
        inside = [tensor for tensor in model.graph.initializer if not tensor.external_data]
        assert sum(tensor.ByteSize() for tensor in inside) < 20_000
        for tensor in model.graph.initializer:
            places = {entry.key: entry.value for entry in tensor.external_data}
            if places and places["location"] == "model.safetensors":
                assert int(places["offset"]) + int(places["length"]) <= size
        assert model.opset_import[0].version == 20
        onnx.checker.check_model(str(file))


@pytest.mark.soak
def test_every_file_counts(beams: Any) -> None:
    """The size that an export gives is that of all files, the manifest and its sums among them."""
    on_disk = {
        str(file.relative_to(beams.target)): file.stat().st_size
        for file in beams.target.rglob("*")
        if file.is_file()
    }
    assert "ckptconv.json" in on_disk
    assert (beams.result.files, beams.result.nbytes) == (on_disk, sum(on_disk.values()))
    assert beams.result.source_bytes == (beams.source / "model.safetensors").stat().st_size


@pytest.mark.soak
@pytest.mark.parametrize("name", ["beams", "greedy"])
def test_nothing_of_the_exporter_is_left(name: str, request: pytest.FixtureRequest) -> None:
    """No stack traces, paths or versions of this machine: graphs hold what runs, and nothing else."""
    artefact = request.getfixturevalue(name)
    for file in artefact.target.glob("*.onnx"):
        content = file.read_bytes()
        for word in (b"site-packages", b"stack_trace", b"modeling_", b"pytorch", b"/"):
            assert word not in content or word == b"/", (file.name, word)


@pytest.mark.soak
@pytest.mark.thorough
@pytest.mark.parametrize("place", ["here", "store"])
def test_twice_gives_the_same_bytes(place: str, greedy: Any, tmp_path: Path) -> None:
    """Nothing in an artefact comes from a clock, a path or the order of a set, nor from where the checkpoint lies."""
    source = str(greedy.source)
    if place == "store":
        fsspec = pytest.importorskip("fsspec")
        source = "memory://greedy/source"
        for path in greedy.source.iterdir():
            fsspec.filesystem("memory").pipe_file(f"/greedy/source/{path.name}", path.read_bytes())
    export(source, tmp_path / "again", "onnx")
    for file in sorted(greedy.target.iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


@pytest.mark.soak
def test_the_example_answers_texts(dates: Path) -> None:
    """Text in, text out, with the runtime and a tokenizer library, in at most 40 lines; and the page's own recipe."""
    lines = (dates / "run.py").read_text().splitlines()
    assert len(lines) <= 40
    assert not any("transformers" in line or "torch" in line for line in lines)
    pairs = [line.split("\t") for line in (DATES / "heldout.tsv").read_text().splitlines()[:5]]
    command = [sys.executable, "-P", str(dates / "run.py"), *(source for source, _ in pairs)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert process.stdout.splitlines() == [answer for _, answer in pairs]
    recipe, *_ = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    given = "import numpy as np, onnxruntime\nids = mask = np.ones((1, 3), np.int64)\n"
    script = f"{given}{recipe.replace('OUT', str(dates))}\nprint(answer[0].shape[0])"
    command = [sys.executable, "-P", "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert process.stdout == "1\n"


def test_a_fraction_less_integers_is_what_pytorch_answers() -> None:
    """XLNet takes a mask of integers from 1.0; in a program both are fractions before."""
    import torch

    from ckptconv.artefacts.tracing.patches import LowerableCalls

    masks = [torch.tensor([0, 1, 3]), torch.tensor([0.5, 1], dtype=torch.float16)]
    expected = [1.0 - mask for mask in masks]
    with LowerableCalls():
        answers = [1.0 - mask for mask in masks]
    assert [answer.dtype for answer in answers] == [torch.float32, torch.float16]
    assert all(map(torch.equal, answers, expected))
