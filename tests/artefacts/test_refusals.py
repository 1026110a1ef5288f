"""`export` refuses by name, before anything is written, what a PyTorch class does that no program can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.verbs.export import ExportOptions, export
from tiny import plain, random_pair
from wholes import config_of, random_model

pytestmark = [pytest.mark.frameworks, pytest.mark.soak, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(
    ("encoder", "decoder", "reason"),
    [
        ("longformer", "bert", "by the values of a tensor (modeling_longformer.py, line "),
        ("funnel", "bert", "cannot be traced with inputs of any length"),
        ("bert", "prophetnet", "answers a token otherwise when another follows it"),
    ],
)
def test_a_pair(encoder: str, decoder: str, reason: str, tmp_path: Path) -> None:
    """The families, what fails, and what to do."""
    source = random_pair(plain(encoder), plain(decoder), tmp_path / "source")
    with pytest.raises(SourceError) as refusal:
        export(source, tmp_path / "out", "onnx", ExportOptions())
    assert refusal.value.exit_code == 3
    first, last = str(refusal.value).splitlines()
    assert f"{encoder} -> {decoder}: " in first
    assert reason in first
    assert "`ckptconv families` lists what can be exported" in last
    assert not (tmp_path / "out").exists()


def test_one_piece(tmp_path: Path) -> None:
    """LED's encoder looks at values."""
    source = tmp_path / "source"
    random_model("LEDForConditionalGeneration", config_of("seq2seq", "led"), source)
    with pytest.raises(SourceError, match=r"led: `encode` goes one way .*modeling_led\.py, line"):
        export(source, tmp_path / "out", "onnx", ExportOptions())
