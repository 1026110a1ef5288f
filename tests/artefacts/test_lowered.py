"""SavedModel, JAX and LiteRT artefacts answer what PyTorch answers, in processes without PyTorch.

One trace serves all three; one child a format answers all. JAX compiles for seconds per shape, so few are asked.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from ckptconv.artefacts.example import write_example
from ckptconv.artefacts.formats import ArtefactFormat, Work
from ckptconv.run.forward import Runnable, prepare
from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR
from ckptconv.schema.model import read_model
from ckptconv.stores.artefact import read_artefact
from ckptconv.stores.checkpoint import open_checkpoint
from lowered_runs import FORBIDDEN, answers
from tiny import plain, random_pair

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

FORMS = ("savedmodel", "jax", "litert")
LIMIT = 29
"""Positions of the pair's sides."""
SETTINGS = {
    "max_length": 13,
    "min_length": 4,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[7], [8, 9]],
    "suppress_tokens": [11],
}
BEAMS = {
    "num_beams": 3,
    "max_length": 9,
    "length_penalty": 0.5,
    "min_length": 3,
    "repetition_penalty": 1.2,
}
ENCODER = {"encoder_repetition_penalty": 1.6, "encoder_no_repeat_ngram_size": 2}
"""What forbids and punishes tokens of the input; LiteRT's driver has none of it."""
OPTIONS = {"batch": 4, "length": LIMIT}


def batch(rows: int, length: int, seed: int = 0) -> dict[str, Any]:
    """Return tokens, and a mask that pads every second row."""
    rng = np.random.default_rng(seed)
    ids, mask = rng.integers(5, 30, (rows, length)), np.ones((rows, length), np.int64)
    mask[1::2, length // 2 :] = 0
    return {"input_ids": np.where(mask, ids, 1), "attention_mask": mask}


CASES = {
    "some": batch(5, 11),
    "single": batch(1, 1, 1),
    "longest": batch(2, LIMIT, 2),
    "too long": batch(2, LIMIT + 1),
    "steps": batch(3, 13, 3)
    | {"decoder_input_ids": np.random.default_rng(1).integers(5, 30, (3, 11))},
}
JOBS = (
    {"do": "generate", "case": "some"},
    {"do": "beams", "case": "some", "settings": BEAMS},
    {"do": "forward", "case": "steps"},
    {"do": "generate", "case": "too long"},
    {"do": "generate", "case": "single"},
    {"do": "generate", "case": "longest"},
    {"do": "beams", "case": "single", "settings": BEAMS | {"max_length": LIMIT + 2}},
    {"do": "serving", "case": "some", "settings": BEAMS},
    {"do": "variables", "case": "single"},
)
COMPILED = 4
"""So many of the jobs are asked of JAX."""


@dataclass(frozen=True, slots=True)
class Written:
    """Checkpoints, their class, and an artefact of each format."""

    source: Path
    sources: dict[str, Path]
    """The same weights with the settings of each format."""
    model: Any
    folders: dict[str, Path]
    records: dict[str, dict[str, Any]]


def settings_of(form: str) -> dict[str, Any]:
    """Return what an artefact of a format searches with beside SETTINGS."""
    return {} if form == "litert" else ENCODER


def _with_settings(source: Path, folder: Path, settings: dict[str, Any]) -> Path:
    """Copy a checkpoint, and add to its settings of generation."""
    path = Path(copytree(source, folder)) / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def _record(form: str, written: dict[str, Any], work: Work) -> dict[str, Any]:
    limits = asdict(work.traced.limits)
    assert work.search is not None
    return {
        "artefact": 1,
        "format": form,
        "limits": limits,
        "search": asdict(work.search),
        **written,
    }


def format_of(name: str) -> ArtefactFormat:
    """Return a format."""
    form: ArtefactFormat = import_module(f"ckptconv.artefacts.formats.{name}").FORMAT
    return form


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Trace roberta -> gpt2 once: positions count from padding, sides differ in width, weights are tied."""
    import torch
    from transformers import EncoderDecoderModel

    from ckptconv.artefacts.generation.settings import search_of
    from ckptconv.artefacts.tracing.examples import examples_of
    from ckptconv.artefacts.tracing.trace import trace

    root = tmp_path_factory.mktemp("lowered")
    encoder = plain("roberta") | {"num_hidden_layers": 1}
    plain_source = random_pair(encoder, plain("gpt2"), root / "plain", bridge=True)
    source = _with_settings(plain_source, root / "source", SETTINGS)
    model = EncoderDecoderModel.from_pretrained(source, attn_implementation="eager").eval()
    settings = model.generation_config.to_dict()
    traced = trace(model, settings["decoder_start_token_id"], examples_of(model))
    sources, folders, records = {}, {}, {}
    for form in FORMS:  # LiteRT comes last: it gives the class's weights back
        search = search_of(settings | settings_of(form))
        sources[form] = _with_settings(source, root / f"source-{form}", settings_of(form))
        folders[form] = Path(copytree(sources[form], root / form))
        work = Work(
            traced=traced, generate=None, search=search, folder=folders[form], options=OPTIONS
        )
        records[form] = _record(form, dict(format_of(form).write(work)), work)
        (folders[form] / "artefact.json").write_text(json.dumps(records[form]))
        if not format_of(form).keeps_weights:
            (folders[form] / "model.safetensors").unlink()
    untraced = EncoderDecoderModel.from_pretrained(source, dtype=torch.float32).eval()
    return Written(source, sources, untraced, folders, records)


@pytest.fixture(scope="session")
def asked(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what gives the answers of a format to JOBS."""

    @cache
    def ask(form: str) -> list[dict[str, Any]]:
        jobs = JOBS[:COMPILED] if form == "jax" else JOBS
        return answers(form, written.folders[form], tmp_path_factory.mktemp(form), jobs, CASES)

    return ask


def generated(model: Any, case: str, **settings: Any) -> Any:
    """Return what PyTorch's generate answers."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in CASES[case].items()}
    return model.generate(**tensors, **settings, return_dict_in_generate=True, output_scores=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("number", "case"), [(0, "some"), (4, "single"), (5, "longest")])
def test_generate_answers_what_pytorch_answers(
    form: str, number: int, case: str, written: Written, asked: Any
) -> None:
    """Token for token, padding included, by the checkpoint's own settings, at sizes that were not traced."""
    if form == "jax" and number >= COMPILED:
        pytest.skip("each shape is compiled for seconds")
    expected = generated(written.model, case, **settings_of(form)).sequences.numpy()
    answer = asked(form)[number]
    assert "error" not in answer, answer["error"]
    np.testing.assert_array_equal(answer["sequences"], expected)
    assert answer["sequences"].dtype == np.int64
    assert len(np.unique(expected)) > 3, "a search that repeats one token proves little"


@pytest.mark.parametrize(
    "form", ["litert", *(pytest.param(name, marks=pytest.mark.soak) for name in FORMS[:2])]
)
def test_the_yardstick_of_checkpoints_judges_artefacts(form: str, written: Written) -> None:
    """Probes, greedy search step by step, and the artefact's own search; in a child with its runtime alone."""
    runner = format_of(form).runner
    source = Runnable("pytorch", written.sources[form])
    target = Runnable(runner, written.folders[form])
    model = read_model(open_checkpoint(written.source).config)
    beams = read_artefact(target.path).other_beams
    report = prepare(model, source, target, own_generation=True, own_beams=beams).run()
    assert report.matches, report
    searches = {"greedy", "own", *(["own beams"] if form != "litert" else [])}
    assert {search.name for search in report.generations} == searches
    assert not [notice for notice in report.notices if "generation config" in notice]


@pytest.mark.parametrize("name", ENCODER)
def test_each_setting_of_the_inputs_tokens_counts(name: str, written: Written) -> None:
    """Without it PyTorch answers otherwise, so that the answers above prove it."""
    whole, less = (
        generated(written.model, "some", **ENCODER | change).sequences.numpy()
        for change in ({}, {name: {"encoder_repetition_penalty": 1.0}.get(name, 0)})
    )
    assert whole.shape != less.shape or (whole != less).any()


def test_servings_loader_answers_the_same(written: Written, asked: Any) -> None:
    """The one of C++ that TensorFlow Serving calls, the tag `serve`, and every signature by its tensor names."""
    answer = asked("savedmodel")[7]
    assert "error" not in answer, answer["error"]
    expected = generated(written.model, "some", **ENCODER).sequences.numpy()
    np.testing.assert_array_equal(answer["sequences"], expected)
    apart = {key.partition("/")[2]: value for key, value in answer.items() if "/" in key}
    assert {name.removesuffix("_with_settings") for name in apart} == {
        "serving_default",
        "generate",
        "generate_beam",
        "encode",
        "step",
    }
    assert max(apart.values()) < 1e-5, apart


@pytest.mark.parametrize("form", FORMS)
def test_beams_answer_what_pytorch_answers(form: str, written: Written, asked: Any) -> None:
    """With the settings of one call: beams, lengths, penalties."""
    expected = generated(written.model, "some", **BEAMS, **settings_of(form))
    answer = asked(form)[1]
    assert "error" not in answer, answer["error"]
    np.testing.assert_array_equal(answer["sequences"], expected.sequences.numpy())
    if form != "litert":
        scores = expected.sequences_scores.numpy()
        np.testing.assert_allclose(answer["sequences_scores"], scores, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_every_cached_step_is_within_the_yardstick(form: str, written: Written, asked: Any) -> None:
    """Against full passes in float64, with noise in the buffers beyond each position."""
    import torch
    from transformers import EncoderDecoderModel

    exact = EncoderDecoderModel.from_pretrained(written.source, dtype=torch.float64).eval()
    tensors = {name: torch.from_numpy(array) for name, array in CASES["steps"].items()}
    with torch.no_grad():
        reference, rounded = exact(**tensors), written.model(**tensors)
    answer = asked(form)[2]
    assert "error" not in answer, answer["error"]
    valid = CASES["steps"]["attention_mask"].astype(bool)
    for name, key in (("logits", "logits"), ("encoder.last", "encoder_last_hidden_state")):
        right, own = (side[key].double().numpy() for side in (reference, rounded))
        error, own = answer[name] - right, own - right
        if name == "encoder.last":
            error, own = error[valid], own[valid]
        assert np.sqrt(np.mean(error**2)) <= RMS_FACTOR * np.sqrt(np.mean(own**2)), name
        assert np.abs(error).max() <= MAX_FACTOR * np.abs(own).max(), name


@pytest.mark.parametrize("form", FORMS)
def test_an_input_beyond_the_positions_is_refused(form: str, asked: Any) -> None:
    """Never answered with other positions."""
    assert "error" in asked(form)[3]


def test_an_answer_beyond_the_positions_is_refused(asked: Any) -> None:
    """A SavedModel's search checks the length that a call asks for."""
    assert "error" in asked("savedmodel")[6]


def test_a_savedmodels_variables_are_the_checkpoints_tensors(written: Written, asked: Any) -> None:
    """Each once, bit for bit, under its name; what is no tensor of the checkpoint is small."""
    from safetensors.numpy import load_file

    variables = asked("savedmodel")[8]
    assert not (written.folders["savedmodel"] / "assets").exists(), (
        "an empty folder is in no manifest"
    )
    tensors = load_file(written.source / "model.safetensors")
    assert set(written.records["savedmodel"]["weights"]) <= set(tensors) <= set(variables)
    assert all(variables[name].tobytes() == tensors[name].tobytes() for name in tensors)
    size = sum(variable.nbytes for variable in variables.values())
    data = next((written.folders["savedmodel"] / "variables").glob("*.data-*"))
    assert data.stat().st_size < size * 1.3 + 4096


def test_a_litert_file_holds_no_tensor_twice(written: Written) -> None:
    """Neither in the checkpoint's orientation nor in the other; both signatures share what both use.

    Nor in a form with the scale of a normalisation in it: all but tables of positions are the checkpoint's own.
    """
    from safetensors.numpy import load_file

    content = (written.folders["litert"] / "model.tflite").read_bytes()
    tensors = load_file(written.source / "model.safetensors")
    used = [tensors[name] for name in written.records["litert"]["weights"]]
    assert len(content) < sum(tensor.nbytes for tensor in used) + 150_000
    for tensor in used:
        if tensor.ndim == 2 and min(tensor.shape) > 1:
            sides = (tensor, np.ascontiguousarray(tensor.T))
            assert sum(content.count(side.tobytes()) for side in sides) <= 1


RUN = """
import runpy, sys
for name in {forbidden}: sys.modules[name] = None
sys.path.insert(0, {folder!r})
sys.argv = ["run.py", *{texts}]
runpy.run_path({folder!r} + "/run.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    "form", ["litert", *(pytest.param(name, marks=pytest.mark.soak) for name in FORMS[:2])]
)
def test_the_example_answers_texts(form: str, written: Written) -> None:
    """In at most 40 lines, in a process that has neither transformers nor ckptconv."""
    import torch

    folder = written.folders[form]
    if form == "savedmodel":
        _write_tokenizer(folder / "tokenizer.json")
    write_example(folder, format_of(form), written.records[form] | {"encoder_pad": 1})
    text = (folder / "run.py").read_text()
    assert len(text.splitlines()) <= 40
    word = "w{:02}" if form == "savedmodel" else "{}"
    texts = [" ".join(word.format(token) for token in row) for row in ([12, 5, 9, 30], [6, 8])]
    script = RUN.format(forbidden=(*FORBIDDEN[form], "ckptconv"), folder=str(folder), texts=texts)
    process = subprocess.run(
        [sys.executable, "-P", "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    ids = torch.tensor([[12, 5, 9, 30], [6, 8, 1, 1]])
    rows = written.model.generate(ids, attention_mask=(ids != 1).long(), **settings_of(form))
    if form == "savedmodel":  # a tokenizer leaves special tokens out
        rows = [[token for token in row if token > 4] for row in rows.tolist()]
    expected = [" ".join(word.format(int(token)) for token in row) for row in rows]
    assert process.stdout.splitlines() == expected


RECIPE = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
ids, mask = np.array([[12, 5, 9], [6, 8, 1]]), np.array([[1, 1, 1], [1, 1, 0]])
"""
PAGES = Path(__file__).parents[2] / "docs" / "export"


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
def test_the_recipe_of_the_page_runs(form: str, written: Written) -> None:
    """The Python of docs/export/FORMAT.md, as it stands there, prints what PyTorch answers."""
    import torch

    folder = written.folders[form]
    (recipe,) = re.findall(
        r"^```python\n(.*?)^```", (PAGES / f"{form}.md").read_text(), re.M | re.S
    )
    script = RECIPE.format(folder=str(folder)) + recipe.replace('"OUT"', repr(str(folder)))
    command = [sys.executable, "-P", "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    ids, mask = torch.tensor([[12, 5, 9], [6, 8, 1]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    expected = written.model.generate(ids, attention_mask=mask, **settings_of(form))
    assert process.stdout == f"{expected.numpy()}\n"


def _write_tokenizer(path: Path) -> None:
    """Write a tokenizer whose words are the numbers of their tokens; 0 to 4 are special."""
    tokenizers = import_module("tokenizers")
    special = [f"<{number}>" for number in range(5)]
    words = [*special, *(f"w{number:02}" for number in range(5, 61))]
    model = tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, "<3>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_this_machine_is_left(form: str, written: Written) -> None:
    """No paths, no stack traces, nothing pickled."""
    for file in _files(written.folders[form]):
        content = file.read_bytes()
        for word in (
            b"site-packages",
            str(Path(__file__).parents[2]).encode(),
            b"modeling_",
            b"pickle",
        ):
            assert word not in content, (file.name, word)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def test_a_loader_is_short(written: Written) -> None:
    """30 lines are what a user of the JAX artefact has to read; they need jax, numpy and safetensors."""
    lines = (written.folders["jax"] / "load.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith(('"""', "#"))]
    assert len(code) <= 30
    imported = {
        line.split()[1].split(".")[0] for line in code if line.startswith(("import ", "from "))
    }
    assert imported == {"json", "pathlib", "typing", "jax", "numpy", "safetensors"}


def test_an_operator_without_an_entry_is_refused_by_name() -> None:
    """Before anything is written, with the program and how often it is called."""
    import torch

    from ckptconv.artefacts.lowering import graph
    from ckptconv.artefacts.lowering.jax import BACKEND as JAX
    from ckptconv.artefacts.lowering.tf import BACKEND as TENSORFLOW
    from ckptconv.base.errors import SourceError

    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).abs() + torch.linalg.det(x)

    program = graph.decompose(torch.export.export(Spectrum(), (torch.rand(3, 3),), strict=False))
    for backend in (JAX, TENSORFLOW):
        with pytest.raises(SourceError, match=r"encode: aten\._fft_r2c\.default \(1 call\)"):
            graph.require({"encode": program}, backend)


@pytest.mark.soak
def test_an_operator_that_onnx_lacks_is_refused_by_name() -> None:
    """With the program; PyTorch's exporter has a longer table than ours."""
    import torch

    from ckptconv.artefacts.formats.onnx import translated
    from ckptconv.artefacts.program import Program
    from ckptconv.base.errors import SourceError

    class Eigenvalues(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x)

    exported = torch.export.export(Eigenvalues(), (torch.rand(3, 3),), strict=False)
    with pytest.raises(SourceError, match=r"encode: .*aten[.:]+_?linalg_eig"):
        translated("encode", Program(exported, ("x",), ("y",), {}))
