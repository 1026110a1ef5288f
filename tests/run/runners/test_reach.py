"""`_reach`: what gradients call reached changes an answer when it is changed, and what they do not does not."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from ckptconv.base.strict_json import read_json
from ckptconv.run.modalities import MODALITIES
from ckptconv.run.runners import Array, Session
from ckptconv.run.runners.pytorch import RUNNER, PyTorchReach, PyTorchSession
from ckptconv.run.yardstick import Places, is_map
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from probing import probes_of
from tiny import plain, random_pair

CHANGE = 1e-3
PLACES = Places(MODALITIES["text"], {})


def batches(folder: Path) -> dict[str, dict[str, Array]]:
    """Return the probes of a checkpoint, each by itself."""
    result: dict[str, dict[str, Array]] = {}
    for key, array in probes_of(read_model(Config(read_json(folder / "config.json")))).items():
        probe, _, name = key.partition(".")
        result.setdefault(probe, {})[name] = array
    return result


def load(source: Path) -> PyTorchSession:
    """Return a model in float64."""
    return RUNNER.load(source, "float64", "EncoderDecoderModel")


def compared(session: Session, batch: dict[str, Array]) -> Array:
    """Return everything that counts of what a model answers, as one row of numbers."""
    rows = []
    for name, array in session.forward(batch, PLACES.wants_maps(batch)).items():
        valid = PLACES.valid(batch, name, array.shape)
        if valid is not None:
            moved = array.transpose(0, 2, 1, 3) if is_map(name, array.ndim) else array
            rows.append(np.ravel(moved[valid]))
    return np.concatenate(rows)


@pytest.mark.frameworks
@pytest.mark.parametrize("families", [("bert", "bert"), ("roberta", "gpt2")])
def test_reached_is_what_changes_an_answer(tmp_path: Path, families: tuple[str, str]) -> None:
    """Of every parameter, elements are changed by hand: exactly those that are reached show in what is compared."""
    source = random_pair(plain(families[0]), plain(families[1]), tmp_path / "pair")
    session, probes = load(source), batches(source)
    model = session.model
    reach, rng = PyTorchReach(model, PLACES.valid), np.random.default_rng(1)
    for batch in probes.values():
        maps = PLACES.wants_maps(batch)
        plainly = session.forward(batch, maps)
        for name, array in reach.forward(batch, maps).items():
            assert np.array_equal(array, plainly[name]), name
    right = {name: compared(session, batch) for name, batch in probes.items()}
    torch = import_module("torch")
    reached = 0
    for name, parameter in model.named_parameters():
        index = tuple(int(rng.integers(size)) for size in parameter.shape)
        with torch.no_grad():
            kept = parameter[index].clone()
            parameter[index] = kept + CHANGE
            worst = max(
                float(np.abs(compared(session, batch) - right[one]).max())
                for one, batch in probes.items()
            )
            parameter[index] = kept
        shown = bool(reach.masks()[name][index])
        assert shown is (worst > 1e-11), f"{name}{list(index)}: {worst}"
        reached += shown
    assert 10 < reached < len(list(model.named_parameters()))


@pytest.mark.frameworks
def test_what_no_probe_reaches(tmp_path: Path) -> None:
    """The pooler, the bias of the keys, and the rows of words that no probe holds; a tied tensor is there once."""
    source = random_pair(plain("bert"), plain("bert"), tmp_path / "pair")
    model, probes = load(source).model, batches(source)
    reach = PyTorchReach(model, PLACES.valid)
    for batch in probes.values():
        reach.forward(batch, PLACES.wants_maps(batch))
    result, shapes = (
        reach.reached(),
        {name: tuple(one.shape) for name, one in model.named_parameters()},
    )
    assert result.keys() == shapes.keys()
    none = {name for name, (elements, _) in result.items() if elements == 0}
    keys = {name for name in shapes if name.endswith("self.key.bias")}
    assert none == keys | {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}
    words = np.unique(
        np.concatenate(
            [batch["input_ids"][batch["attention_mask"] == 1] for batch in probes.values()]
        )
    )
    table = "encoder.embeddings.word_embeddings.weight"
    assert result[table] == [len(words) * shapes[table][1], len(words)]
    assert len(words) < shapes[table][0]
    assert "decoder.cls.predictions.decoder.weight" not in result


@pytest.mark.frameworks
def test_long_rows_are_computed_twice_instead_of_kept(tmp_path: Path) -> None:
    """Beyond the length that asks for attention maps, layers run again on the way back: the same answers and reach."""
    config = plain("bert") | {"max_position_embeddings": 320}
    source = random_pair(config, config, tmp_path / "pair")
    long = batches(source)["long"]
    assert long["input_ids"].shape == (1, 320)
    session = load(source)
    model, maps = session.model, PLACES.wants_maps(long)
    right, reach = session.forward(long, maps), PyTorchReach(model, PLACES.valid)
    assert not maps
    result = reach.forward(long, maps)
    assert result.keys() == right.keys()
    assert max(float(np.abs(result[name] - right[name]).max()) for name in right) < 1e-12
    width = config["hidden_size"]
    assert reach.reached()["encoder.embeddings.position_embeddings.weight"] == [320 * width, 320]
    assert "forward" not in vars(model.encoder.encoder.layer[0])
