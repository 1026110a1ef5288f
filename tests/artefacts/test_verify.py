"""`verify CKPT ARTEFACT` proves an artefact by the yardstick of checkpoints, and sees what is wrong with one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptconv.base.errors import DestinationError, SourceError
from ckptconv.stores.parsers.onnx_graph import external_tensors
from ckptconv.verbs.check import check
from ckptconv.verbs.export import ExportOptions, export
from ckptconv.verbs.record import record
from ckptconv.verbs.verify import verify

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]


DATES = Path(__file__).parents[2] / "fixtures" / "dates"


def soak(*values: Any) -> Any:
    """Leave a case to `make soak`."""
    return pytest.param(*values, marks=pytest.mark.soak)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["beams", "greedy"])
def test_an_artefact_matches_its_checkpoint(name: str, request: pytest.FixtureRequest) -> None:
    """Weights bit for bit; states, every cached step and both searches; at and beyond the positions."""
    artefact = request.getfixturevalue(name)
    result = verify(artefact.source, artefact.target)
    assert result.matches
    assert (result.format, result.outputs.target.runner) == ("onnx", "onnxruntime")
    assert result.outputs.target.loaded == ()
    assert {search.name for search in result.outputs.generations} == {"greedy", "own"}
    assert check(artefact.target).findings == ()


@pytest.mark.soak
def test_a_trace_proves_an_artefact_where_pytorch_is_not(greedy: Any, tmp_path: Path) -> None:
    """Recorded where the checkpoint is, checked with the runtime alone."""
    record(greedy.source, tmp_path / "trace")
    assert verify(tmp_path / "trace", greedy.target).matches


def swap_pointers(folder: Path) -> None:
    """Let a graph point at another bias of the same length."""
    path = folder / "decoder_step.onnx"
    biases = [tensor for tensor in external_tensors(path) if len(tensor.shape) == 1]
    first, second = next(
        (bias, two)
        for bias in biases
        for two in biases
        if bias.shape == two.shape
        and len(str(bias.offset)) == len(str(two.offset))
        and bias is not two
    )
    raw = path.read_bytes()
    old, new = str(first.offset).encode(), str(second.offset).encode()
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, new))


def flip_weight(folder: Path) -> None:
    """Change one byte of the weights."""
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 64
    path.write_bytes(raw)


@pytest.mark.soak
@pytest.mark.parametrize("damage", [swap_pointers, flip_weight])
def test_wrong_weights_are_a_mismatch_without_running(
    damage: Callable[[Path], None], greedy: Any, tmp_path: Path
) -> None:
    """`--level weights` needs neither PyTorch nor ONNX Runtime to see it."""
    copy = Path(shutil.copytree(greedy.target, tmp_path / "copy"))
    damage(copy)
    assert not verify(greedy.source, copy, "weights").matches
    assert verify(greedy.source, greedy.target, "weights").matches


@pytest.mark.soak
def test_another_search_is_a_mismatch(greedy: Any, beams: Any, tmp_path: Path) -> None:
    """A `generate.onnx` with other settings answers other tokens than the checkpoint's."""
    copy = Path(shutil.copytree(greedy.target, tmp_path / "copy"))
    from onnx_edits import set_default

    set_default(copy / "generate.onnx", "max_length", 5)
    result = verify(greedy.source, copy)
    assert not result.matches
    (own,) = (search for search in result.outputs.generations if search.name == "own")
    assert own.mismatches


@pytest.mark.soak
def test_an_artefact_without_its_record_is_refused(greedy: Any, tmp_path: Path) -> None:
    """It would be judged as the PyTorch checkpoint that its weights are, which says nothing of the graphs."""
    copy = Path(shutil.copytree(greedy.target, tmp_path / "copy"))
    (copy / "artefact.json").unlink()
    with pytest.raises(SourceError, match=r"artefact\.json"):
        verify(greedy.source, copy)


@pytest.mark.soak
def test_limits_that_are_not_so_are_a_mismatch(greedy: Any, tmp_path: Path) -> None:
    """A record that promises less than the graph does: beyond it the artefact answers."""
    copy = Path(shutil.copytree(greedy.target, tmp_path / "copy"))
    path = copy / "artefact.json"
    values = json.loads(path.read_text())
    values["limits"]["encoder"] -= 5
    path.write_text(json.dumps(values))
    result = verify(greedy.source, copy)
    assert not result.matches
    assert any("limit" in line for line in result.outputs.loading)


@pytest.mark.soak
def test_sentences_are_refused(greedy: Any) -> None:
    """The runtime's process has no tokenizer of transformers."""
    with pytest.raises(SourceError, match="give token ids"):
        verify(greedy.source, greedy.target, texts=("a text",))


@pytest.mark.soak
def test_an_artefact_is_no_source_of_another(greedy: Any, tmp_path: Path) -> None:
    """It says to give the checkpoint."""
    with pytest.raises(SourceError, match="already an artefact"):
        export(greedy.target, tmp_path / "out")


@pytest.mark.soak
def test_what_exists_is_left_alone(greedy: Any) -> None:
    """Without --overwrite."""
    with pytest.raises(DestinationError, match="already exists"):
        export(greedy.source, greedy.target)


def settings(**values: Any) -> Callable[[Path], None]:
    """Return what gives a checkpoint settings for generation."""

    def change(folder: Path) -> None:
        path = folder / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def unknown_activation(folder: Path) -> None:
    """Ask for a function that no class has, which the tables do not look at."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["decoder"]["hidden_act"] = "none_such"
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (settings(stop_strings=["."], max_time=3.0), {}, r"stop_strings(.*\n)+.*max_time"),
        soak(
            settings(num_beam_groups=2, num_beams=4, diversity_penalty=0.5), {}, "num_beam_groups"
        ),
        soak(settings(), {"max_length": 4000}, "64 positions"),
        soak(unknown_activation, {}, "EncoderDecoderModel cannot load it\n.*none_such"),
        soak(settings(max_length=1), {}, "generate fails with this model\n.*max_length"),
        soak(settings(repetition_penalty=0.0), {}, "generate fails with this model\n.*penalty"),
        soak(settings(bad_words_ids=[[4000]]), {}, "generate fails with this model\n.*4000"),
        soak(settings(exponential_decay_length_penalty=[1]), {}, "malformed\nIndexError"),
        soak(settings(forced_eos_token_id=4000), {}, r"forced_eos_token_id \(4000,\): .* 0 to 45"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(
    change: Callable[[Path], None], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """One message with all causes, and nothing is written."""
    source = Path(shutil.copytree(DATES, tmp_path / "source"))
    change(source)
    with pytest.raises(SourceError, match=message):
        export(source, tmp_path / "out", "onnx", ExportOptions(**options))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["source"]
