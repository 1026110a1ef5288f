"""`pytorch`: the reference computes in float64 throughout, whatever the class asks for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptconv.run.runners.pytorch import RUNNER, PyTorchSession, in_precision
from tiny import plain, random_pair

IDS = np.arange(8, 20).reshape(2, 6)
BATCH = {
    "input_ids": IDS,
    "attention_mask": np.ones_like(IDS),
    "decoder_input_ids": IDS + 1,
    "labels": IDS,
}


def load(source: Path, precision: str = "float32") -> PyTorchSession:
    """Return a model."""
    return RUNNER.load(source, precision, "EncoderDecoderModel")


def tables(model: Any) -> dict[str, Any]:
    """Return what a model computed when it was made: its tables of sines."""
    result = {name: value for name, value in model.named_buffers() if value.is_floating_point()}
    more = [
        module.pos_encoding for module in model.modules() if hasattr(module, "pos_encoding")
    ]  # CTRL's
    return result | {f"positions {number}": value for number, value in enumerate(more)}


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("family", "side"), [("ctrl", "encoder"), ("llama", "encoder"), ("xglm", "decoder")]
)
def test_tables_of_sines_are_made_anew(tmp_path: Path, family: str, side: str) -> None:
    """In the reference they are not the rounded ones: their rounding is part of float32's error."""
    pair = (plain(family), plain("bert")) if side == "encoder" else (plain("bert"), plain(family))
    source = random_pair(*pair, tmp_path / "pair")
    rounded, exact = tables(load(source, "float32").model), tables(load(source, "float64").model)
    assert rounded.keys() == exact.keys() != set()
    assert {str(value.dtype) for value in exact.values()} == {"torch.float64"}
    for name, value in exact.items():
        assert 0 < (value - rounded[name].double()).abs().max() < 1e-5


@pytest.mark.frameworks
@pytest.mark.parametrize("families", [("gpt2", "gpt2"), ("xlnet", "bert"), ("llama", "bert")])
def test_no_step_rounds(tmp_path: Path, families: tuple[str, str]) -> None:
    """The loss of the reference is float64's, also with attention in float32 by name (GPT-2, LLaMA), and stays it."""
    upcast = {"reorder_and_upcast_attn": True} if families[0] == "gpt2" else {}
    source = random_pair(plain(families[0]) | upcast, plain(families[1]), tmp_path / "pair")
    session = load(source, "float64")
    model = session.model
    exact, rounded = session.forward(BATCH, maps=True), load(source).forward(BATCH, maps=True)
    assert {array.dtype for array in exact.values()} == {np.dtype(np.float64)}
    assert {array.dtype for array in rounded.values()} == {np.dtype(np.float32)}
    torch = import_module("torch")
    model.double()
    moved = {name: value + 1e-13 for name, value in model.named_parameters()}
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(moved[name])
    near = session.forward(BATCH, maps=True)
    assert 0 < np.abs(near["logits"] - exact["logits"]).max() < 1e-10
    assert 1e-9 < np.abs(rounded["logits"] - exact["logits"]).max() < 1e-3


@pytest.mark.frameworks
def test_precision_ends_with_its_block() -> None:
    """After the reference has run, float32 is float32 again, also where the block failed."""
    torch = import_module("torch")
    with in_precision(torch.float64):
        assert torch.zeros(2, dtype=torch.float32).float().dtype == torch.float64
    with pytest.raises(RuntimeError), in_precision(torch.float64):
        torch.zeros(2).view(3)
    assert (
        torch.zeros(2).dtype == torch.zeros(2, dtype=torch.float32).float().dtype == torch.float32
    )


@pytest.mark.frameworks
def test_a_listener_hears_every_step(tmp_path: Path) -> None:
    """The tokens so far and the scores of the next, for each step of a greedy search; the greatest score is chosen."""
    source = random_pair(plain("bert"), plain("bert"), tmp_path / "pair")
    heard: list[tuple[Any, Any]] = []
    settings = {
        "decoder_start_token_id": 1,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "num_beams": 1,
        "do_sample": False,
        "max_new_tokens": 4,
    }
    inputs = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
    result = load(source).generate(inputs, settings, lambda *step: heard.append(step))
    assert [tokens.shape for tokens, _ in heard] == [
        (2, step + 1) for step in range(result.shape[1] - 1)
    ]
    for step, (tokens, scores) in enumerate(heard):
        assert np.array_equal(tokens, result[:, : step + 1])
        running = (tokens[:, 1:] != 2).all(axis=1)
        assert np.array_equal(scores.argmax(axis=1)[running], result[:, step + 1][running])


@pytest.mark.frameworks
def test_threads_are_shared_and_taken_back() -> None:
    """A share is never more than PyTorch has of itself, and without one it has as many again."""
    torch = import_module("torch")
    usual, counts = torch.get_num_threads(), []
    for count in (1, None, usual + 1):
        RUNNER.use_threads(count)
        counts.append(torch.get_num_threads())
    assert counts == [1, usual, usual]
