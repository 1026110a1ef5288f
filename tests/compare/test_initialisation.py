"""What looks newly initialised: every draw is recognised, and nothing that was trained for a single step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ckptconv
from ckptconv.compare.initialisation import new_modules
from ckptconv.compare.statistics import Statistics, measure
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.schema.namings import NAMINGS
from ckptconv.schema.tensors import Module, conv1d, embedding, expand, linear, norm, part
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.verbs.inspect import ValueFinding
from tiny import _half, _specials, decoders, import_pytorch, plain

if TYPE_CHECKING:
    pass

DECODER = Config({"initializer_range": 0.05, "num_hidden_layers": 8})
SIZE = {"out": 96, "in": 64}


def statistics(arrays: dict[str, NDArray[Any]], folder: Path) -> dict[str, Statistics]:
    """Return the figures of arrays, through a file as always."""
    tensors = []
    for number, (name, array) in enumerate(arrays.items()):
        path = folder / str(number)
        path.write_bytes(array.tobytes())
        tensors.append(
            Stored.in_file(
                TensorSpec(name, str(array.dtype), array.shape), path, (Extent(0, array.nbytes),)
            )
        )
    return dict(zip(arrays, measure(tensors), strict=True))


def found(module: Module, arrays: dict[str, NDArray[Any]], folder: Path) -> list[tuple[str, str]]:
    """Return path and draw of the modules that look new."""
    rows = expand(part("cross-attention", [module]), NAMINGS)
    values = statistics(
        {f"x.{role}": array.astype(np.float32) for role, array in arrays.items()}, folder
    )
    return [
        (module.path, module.draw.name if module.draw else "")
        for module in new_modules(rows, values, {"decoder": DECODER})
    ]


def normal(std: float, cut: float = np.inf) -> NDArray[Any]:
    """Return a weight drawn from a normal, drawn again where it is farther out than `cut` spreads."""
    values = np.random.default_rng(8).standard_normal((96, 64, 8))
    kept = values.reshape(-1)[np.abs(values.reshape(-1)) < cut][: 96 * 64]
    return (kept * std).reshape(96, 64)


ZEROS = np.zeros(96)
UNIFORM = np.random.default_rng(8).uniform(-1 / 8, 1 / 8, (97, 64))


@pytest.mark.parametrize(
    ("weight", "bias", "name"),
    [
        (normal(0.05), ZEROS, "N(0, 0.05)"),
        (normal(0.02), ZEROS, "N(0, 0.02)"),
        (normal(0.05 / 4), ZEROS, "N(0, 0.05 / sqrt(16))"),
        (normal(0.05, cut=2), ZEROS, "N(0, 0.05) cut at 0.1"),
        (normal(1 / 8 / 0.8796, cut=2), ZEROS, "N(0, 0.125) cut"),
        (UNIFORM[:96], np.resize(UNIFORM[96], 96), "U(-0.125, 0.125)"),
        (UNIFORM[:96], ZEROS, "U(-0.125, 0.125)"),
    ],
)
def test_every_draw_is_recognised(
    weight: NDArray[Any], bias: NDArray[Any], name: str, tmp_path: Path
) -> None:
    """Drawn weights beside zero biases are new, in float32 and as float16 and bfloat16 round them."""
    module = linear("x", 96, 64)
    coarse = (weight.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    for values in (weight, weight.astype(np.float16), coarse):
        assert found(module, {"weight": values, "bias": bias}, tmp_path) == [("x", name)]


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        (normal(0.05), np.where(np.arange(96) == 40, 1e-8, 0)),
        (normal(0.05) + 0.01, ZEROS),
        (normal(0.053), ZEROS),
        (normal(0.05, cut=2.5), ZEROS),
        (np.random.default_rng(8).laplace(0, 0.05 / np.sqrt(2), (96, 64)), ZEROS),
        (np.where(np.arange(64) < 8, 0, normal(0.05)), ZEROS),
        (np.where(np.arange(64) == 5, np.nan, normal(0.05)), ZEROS),
        (UNIFORM[:96], np.resize(UNIFORM[96], 96) * 1.1),
        (ZEROS[:, None] + np.zeros(64), ZEROS),
    ],
)
def test_what_is_not_drawn_is_not_new(
    weight: NDArray[Any], bias: NDArray[Any], tmp_path: Path
) -> None:
    """One bias off 0, another mean, spread or shape, zeros, NaN: any of them tells."""
    assert found(linear("x", 96, 64), {"weight": weight, "bias": bias}, tmp_path) == []


def test_layers_without_a_bias_need_many_elements(tmp_path: Path) -> None:
    """The weights alone decide from 4,096 elements on."""
    assert found(linear("x", 96, 64, bias=False), {"weight": normal(0.05)}, tmp_path) == [
        ("x", "N(0, 0.05)")
    ]
    assert found(linear("x", 48, 64, bias=False), {"weight": normal(0.05)[:48]}, tmp_path) == []


def test_norms_tables_and_padding(tmp_path: Path) -> None:
    """A norm is new as 1 and 0; a table may have a row of zeros; neither decides by itself."""
    one = {"weight": np.ones(96), "bias": ZEROS}
    assert found(norm("x", 96), one, tmp_path) == [("x", "")]
    assert found(norm("x", 96), one | {"weight": np.full(96, 1.001)}, tmp_path) == []
    table = normal(0.05)
    table[0] = 0
    assert found(embedding("x", 96, 64), {"weight": table}, tmp_path) == [("x", "N(0, 0.05)")]
    rows = expand(
        part("decoder", [embedding("x", 96, 64), norm("y", 96), conv1d("z", 3, 5)]), NAMINGS
    )
    values = statistics(
        {
            "x.weight": table.astype(np.float32),
            "y.weight": np.ones(96),
            "y.bias": ZEROS,
            "z.weight": np.ones((5, 3)),
            "z.bias": np.zeros(3),
        },
        tmp_path,
    )
    assert [
        (module.path, module.decides) for module in new_modules(rows, values, {"decoder": DECODER})
    ] == [
        ("x", False),
        ("y", False),
    ]


def test_the_trained_checkpoint_is_not_new(dates: Path) -> None:
    """Of the trained model in fixtures/, nothing that decides looks new."""
    assert [item.path for item in _new(dates) if item.decides] == []


def _new(folder: Path) -> Iterator[Any]:
    checkpoint = open_checkpoint(folder)
    composition = read_model(checkpoint.config)
    tensors = list(checkpoint.weights.tensors.values())
    figures = {one.spec.name: values for one, values in zip(tensors, measure(tensors), strict=True)}
    sides = {"encoder": composition.encoder.config, "decoder": composition.decoder.config}
    return new_modules(composition.tensors, figures, sides)


def new_parts(folder: Path) -> dict[str, ValueFinding]:
    """Return what `inspect` finds new, by part."""
    findings = ckptconv.inspect(folder, stats=True).findings
    return {
        finding.text.partition(":")[0]: finding for finding in findings if finding.sign == "new"
    }


@pytest.mark.frameworks
def test_a_pair_that_transformers_made_of_a_trained_model(dates: Path, tmp_path: Path) -> None:
    """What `from_encoder_decoder_pretrained` draws is found, cross-attention and head, and nothing else."""
    _, transformers = import_pytorch()
    ckptconv.split(dates, tmp_path / "parts")
    both = [str(tmp_path / "parts" / "encoder")] * 2
    transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(*both).save_pretrained(
        tmp_path / "pair"
    )
    found = new_parts(tmp_path / "pair")
    assert found.keys() == {"cross-attention", "head"}
    assert len(found["cross-attention"].tensors) == 20


SAMPLE = ("bert", "gpt2", "bigbird_pegasus")
"""Families that differ in what their classes draw: `make test` tries these."""
BIASED: dict[str, dict[str, Any]] = {"bigbird_pegasus": {"use_bias": True}}
"""Weights alone do not show one step: it moves them by far less than their spread, and a bias off 0."""


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore::UserWarning")  # transformers' own, about its own configs
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in SAMPLE else pytest.mark.soak)
        for family in decoders()
    ],
)
def test_real_classes_before_and_after_one_step(family: str, tmp_path: Path) -> None:
    """The class's new cross-attention looks new as a whole; after one step, none of what was trained does."""
    torch, transformers = import_pytorch()
    torch.manual_seed(1)
    encoder = _half(transformers, plain("bert"))
    decoder = _half(transformers, plain(family) | BIASED.get(family, {}))
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, **_specials(decoder)
    )
    model = transformers.EncoderDecoderModel(config=config)
    model.save_pretrained(tmp_path / "new")
    ids = torch.randint(5, 20, (4, 7))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    model.train()
    model(input_ids=ids, decoder_input_ids=ids, labels=ids).loss.backward()
    moved = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    }
    optimizer.step()
    model.save_pretrained(tmp_path / "trained")
    new, trained = new_parts(tmp_path / "new"), new_parts(tmp_path / "trained")
    assert new["cross-attention"].text.startswith(
        "cross-attention: all of it looks newly initialised"
    )
    assert moved
    assert {name for finding in trained.values() for name in finding.tensors} & moved == set()
