"""What training leaves: read where it is certain which tensors are the model's, else said in two lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.stores.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from conftest import MakePair, Pair


def same(first: Path, second: Path) -> bool:
    """Tell whether two checkpoints hold the same."""
    return ckptconv.diff(first, second).matches


@pytest.mark.frameworks
def test_pytorch(pair: Pair, tmp_path: Path) -> None:
    """A state_dict inside of what a script saved is read, with any optimizer beside it; of two, neither is."""
    import torch

    source = pair.write(tmp_path / "source")
    state = {name: torch.from_numpy(array) for name, array in pair.arrays.items()}
    prefixed = {f"model.{name}": tensor for name, tensor in state.items()}
    moments = {
        n: {"step": torch.ones(()), "exp_avg": tensor} for n, tensor in enumerate(state.values())
    }
    optimizer = {
        "state": moments,
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99), "params": [0]}],
    }
    lightning: dict[str, Any] = {"epoch": 3, "global_step": 5, "pytorch-lightning_version": "2.1"}
    sound = {
        "lightning": {**lightning, "state_dict": prefixed, "optimizer_states": [optimizer]},
        "weights only": {**lightning, "state_dict": prefixed},
        "script": {"epoch": 4, "model_state_dict": state, "optimizer_state_dict": optimizer},
        "first": {"optimizer": optimizer, "model": state, "loss": torch.ones(())},
        "wrapped": {"module": state},
        "nested": {"model": {"state_dict": state, "config": None}, "optimizer": optimizer},
        "deep": {"state_dict": {"model": {"module": state}}, "step": 3},
    }
    for legacy in (False, True):
        for name, value in sound.items():
            folder = tmp_path / f"{name}{legacy}"
            folder.mkdir()
            (folder / "config.json").write_bytes((source / "config.json").read_bytes())
            torch.save(
                value, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy
            )
            assert same(source, folder)
            notices = ckptconv.normalize(folder, tmp_path / f"{name}{legacy}-out").notices
            key = next(key for key in value if "state_dict" in key or key in ("model", "module"))
            assert any(f"the weights are those under {key!r}" in notice for notice in notices)
            assert not any("optimizer" in key for key in value) or "the rest is left" in notices[0]
            assert same(source, tmp_path / f"{name}{legacy}-out")
    unsound = {
        "two": ({"model": state, "ema": state}, "tensors lie under 'model', 'ema': which"),
        "nested": (
            {"model": {"state_dict": state}, "ema": {"model": state}},
            "tensors lie under 'model'.'state_dict', 'ema'.'model': which",
        ),
        "two within": (
            {"model": {"state_dict": state, "ema": state}},
            "tensors lie under 'model'.'state_dict', 'model'.'ema': which",
        ),
        "other": ({"ema": state, "optimizer": optimizer}, "tensors lie under 'ema': which"),
        "none": ({"epoch": 3}, "'epoch' is an int, not a tensor"),
        "code": (
            {**lightning, "hparams": Path("x"), "state_dict": prefixed},
            "a Lightning checkpoint",
        ),
    }
    for name, (value, says) in unsound.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes((source / "config.json").read_bytes())
        torch.save(value, folder / "pytorch_model.bin")
        with pytest.raises(SourceError) as refusal:
            open_checkpoint(folder)
        assert says in str(refusal.value)
        assert "torch.save(" in str(refusal.value)


@pytest.mark.frameworks
def test_the_advice_destroys_nothing(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its two lines, run where the file lies, make a checkpoint that is read and leave the only weights as they are."""
    import torch

    source = pair.write(tmp_path / "source")
    state = {name: torch.from_numpy(array) for name, array in pair.arrays.items()}
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    torch.save({"model": {"state_dict": state}, "ema": state}, folder / "pytorch_model.bin")
    before = (folder / "pytorch_model.bin").read_bytes()
    with pytest.raises(SourceError) as refusal:
        open_checkpoint(folder)
    lines = [line.strip() for line in str(refusal.value).splitlines() if line.startswith("  ")]
    assert len(lines) == 2
    monkeypatch.chdir(folder)
    exec("\n".join(lines), {})
    assert (folder / "pytorch_model.bin").read_bytes() == before
    (folder / "weights" / "config.json").write_bytes((source / "config.json").read_bytes())
    assert same(source, folder / "weights")


@pytest.mark.frameworks
def test_the_advice_names_a_key_of_the_file(pair: Pair, tmp_path: Path) -> None:
    """Of several state_dicts the advice saves one that is there: the one that scripts give the model's name."""
    import torch

    source = pair.write(tmp_path / "source")
    state = {name: torch.from_numpy(array) for name, array in pair.arrays.items()}
    for number, keys in enumerate([("state_dict", "ema"), ("ema", "model"), ("net",)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_bytes((source / "config.json").read_bytes())
        torch.save(dict.fromkeys(keys, state), folder / "pytorch_model.bin")
        likely = next((key for key in keys if key in ("state_dict", "model")), keys[0])
        with pytest.raises(SourceError, match=rf"weights_only=False\)\['{likely}'\]"):
            open_checkpoint(folder)


def nested(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return a tree of names with slashes."""
    tree: dict[str, Any] = {}
    for name, value in tensors.items():
        *above, leaf = name.split("/")
        node = tree
        for level in above:
            node = node.setdefault(level, {})
        node[leaf] = value
    return tree


@pytest.mark.frameworks
def test_flax(make_pair: MakePair, tmp_path: Path) -> None:
    """A train state, parameters below `params`, and parameters once for each device are read, or refused with why."""
    from flax.serialization import msgpack_restore, msgpack_serialize

    source = make_pair().write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax", heal=False)
    weights = tmp_path / "flax" / "flax_model.msgpack"
    tree = msgpack_restore(weights.read_bytes())

    def mapped(value: Any, change: Any) -> Any:
        if isinstance(value, dict):
            return {key: mapped(item, change) for key, item in value.items()}
        return change(value)

    replicated = mapped(tree, lambda array: np.stack([array] * 3))
    moments = {"0": {"count": np.int32(7), "mu": tree, "nu": tree, "none": None}, "1": {}}
    sound = {
        "params": {"params": tree},
        "twice": {"params": {"params": tree}},
        "state": {"step": 5, "params": tree, "opt_state": moments, "loss_scale": 0.5},
        "before 0.6": {"target": tree, "state": {"step": 5, "param_states": moments}},
        "t5x": {
            "optimizer": {"target": tree, "state": {"step": 5, "param_states": moments}},
            "version": 3,
        },
        "arrays": {"step": np.array(5), "params": tree, "opt_state": {}, "note": -3},
        "replicated": replicated,
        "both": {"step": 5, "params": replicated, "opt_state": moments},
    }
    for name, value in sound.items():
        weights.write_bytes(msgpack_serialize(value))
        notices = ckptconv.flax2pt(tmp_path / "flax", tmp_path / name).notices
        assert same(source, tmp_path / name)
        holder = "target" if name in ("before 0.6", "t5x") else "params"
        assert (f"those under {holder!r}" in " ".join(notices)) == (name != "replicated")
        assert ("replicated over devices" in " ".join(notices)) == (name in ("replicated", "both"))
    rng = np.random.default_rng(0)
    apart = mapped(tree, lambda array: rng.standard_normal((3, *array.shape)).astype("f"))
    unsound = {
        "two": (
            {"params": tree, "ema_params": tree},
            "arrays lie under 'params', 'ema_params': which",
        ),
        "target": (
            {"target": tree, "state": {}, "ema": tree},
            "arrays lie under 'target', 'ema': which",
        ),
        "apart": (apart, "expected [23, 7]"),
        "nil": ({**tree, "x": None}, "unexpected type byte 0xc0"),
    }
    for name, (value, says) in unsound.items():
        weights.write_bytes(msgpack_serialize(value))
        with pytest.raises(SourceError) as refusal:
            ckptconv.flax2pt(tmp_path / "flax", tmp_path / name)
        assert says in str(refusal.value)
