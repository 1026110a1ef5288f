"""`inspect` of one model alone: what `split` wrote, base models, models with another head, bridges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import JoinOptions, Problem
from ckptconv.report.inspect import inspection_text
from ckptconv.schema.config import DECODING
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.stores.formats import safetensors
from ckptconv.stores.tensor import TensorSpec
from ckptconv.verbs.inspect import Target, Tie

if TYPE_CHECKING:
    from conftest import MakePair, Pair

YES = (Target("join (as encoder)"), Target("join (as decoder)"))


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("bert", "bert"), ("roberta", "gpt2"), ("gpt2", "roberta")]
)
def test_what_split_wrote(make_pair: MakePair, tmp_path: Path, encoder: str, decoder: str) -> None:
    """Each part is complete by itself, and its parts have the sizes that they have in the whole."""
    whole = ckptconv.inspect(
        make_pair(encoder, decoder, dec={"pad_token_id": 3}).write(tmp_path / "source")
    )
    ckptconv.split(tmp_path / "source", tmp_path / "parts")
    one, two = (ckptconv.inspect(tmp_path / "parts" / side) for side in ("encoder", "decoder"))
    assert (one.kind, one.model_type, one.problems, one.unused, one.refusal) == (
        "encoder",
        encoder,
        (),
        (),
        "",
    )
    assert (two.kind, two.model_type, two.problems, two.unused, two.refusal) == (
        "decoder",
        decoder,
        (),
        (),
        "",
    )
    assert sorted((*one.parts, *two.parts), key=str) == sorted(whole.parts, key=str)
    assert (*one.sides, *two.sides) == whole.sides
    assert [target.converts for target in (one.targets[0], two.targets[1])] == [True, True]


def test_ties_have_the_names_of_the_file(pair: Pair, tmp_path: Path) -> None:
    """A decoder's ties are spelled as its own file does."""
    ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "parts")
    assert ckptconv.inspect(tmp_path / "parts" / "decoder").ties == (
        Tie(
            "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight", stored=False
        ),
        Tie("cls.predictions.decoder.bias", "cls.predictions.bias", stored=False),
    )


def alone(pair: Pair, folder: Path, prefix: str = "") -> Pair:
    """Return the encoder of a pair as a checkpoint of its own; not written yet."""
    arrays = {
        f"{prefix}{name.removeprefix('encoder.')}": one
        for name, one in pair.arrays.items()
        if name.startswith("encoder.")
    }
    return type(pair)(pair.config["encoder"] | {"transformers_version": "4.57.6"}, arrays)


def test_a_model_with_another_head(pair: Pair, tmp_path: Path) -> None:
    """The base model below its level is known, the head is not used, and a cross-attention would be drawn."""
    model = alone(pair, tmp_path, "bert.")
    model.arrays["classifier.weight"] = np.ones((2, 7), np.float32)
    inspection = ckptconv.inspect(model.write(tmp_path / "model"))
    assert (inspection.kind, inspection.problems, inspection.unused) == (
        "encoder",
        (),
        ("classifier.weight",),
    )
    assert [(part.name, part.tensors) for part in inspection.parts] == [
        ("encoder", 39),
        ("unknown", 1),
    ]
    copied = "or copied from the self-attention (--cross-attention self)"
    assert inspection.targets == (
        YES[0],
        Target(
            "join (as decoder)",
            notices=(
                f"cross-attention: 20 tensors would be drawn anew, {copied}",
                "head: 5 tensors would be drawn anew",
            ),
        ),
    )
    conversion = ckptconv.join(
        tmp_path / "model", tmp_path / "model", tmp_path / "out", JoinOptions(dry_run=True)
    )
    assert [note.split(" are new")[0] for note in conversion.notices if "are new" in note] == [
        "cross-attention: 20 tensors",
        "head: 5 tensors",
    ]


def test_what_is_missing_or_twice(pair: Pair, tmp_path: Path) -> None:
    """Problems have the names that the file uses, or would use; `join` is told not to take it."""
    model = alone(pair, tmp_path)
    del model.arrays["encoder.layer.0.output.dense.bias"]
    model.arrays["bert.embeddings.LayerNorm.bias"] = model.arrays["embeddings.LayerNorm.bias"]
    model.arrays["embeddings.token_type_embeddings.weight"] = np.ones((5, 7), np.float32)
    inspection = ckptconv.inspect(model.write(tmp_path / "model"))
    assert inspection.problems == (
        Problem(
            "duplicate",
            "embeddings.LayerNorm.bias",
            "the same tensor as bert.embeddings.LayerNorm.bias",
        ),
        Problem("missing", "encoder.layer.0.output.dense.bias", "expected [7]"),
        Problem(
            "shape",
            "embeddings.token_type_embeddings.weight",
            "expected [3, 7] (row, dim), found [5, 7]",
        ),
    )
    refusal = "duplicate embeddings.LayerNorm.bias and 2 more"
    assert inspection.targets[0] == Target("join (as encoder)", refusal)


@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_one_model_of_another_framework(pair: Pair, tmp_path: Path, naming: str) -> None:
    """The tables know it too, and `join` would take it."""
    source = pair.write(tmp_path / "source")
    getattr(ckptconv, f"pt2{naming}")(source, tmp_path / "whole", "safetensors")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())["encoder"]
    arrays = part_of(tmp_path / "whole", "encoder")
    if naming == "flax":  # unheal: one model alone was never healed
        table = "embeddings/token_type_embeddings/embedding"
        arrays[table] = arrays[table][: pair.config["encoder"]["type_vocab_size"]]
        config["type_vocab_size"] = len(arrays[table])
    write(tmp_path / "model", config, arrays, naming)
    inspection = ckptconv.inspect(tmp_path / "model")
    assert (inspection.kind, inspection.naming, inspection.problems, inspection.unused) == (
        "encoder",
        naming,
        (),
        (),
    )
    assert [(part.name, part.tensors) for part in inspection.parts] == [("encoder", 39)]
    assert (inspection.targets[0].verb, inspection.targets[0].refusal) == ("join (as encoder)", "")


def part_of(folder: Path, side: str) -> dict[str, np.ndarray]:
    """Return the arrays of one side, under the names that they have below it."""
    result = {}
    for name, one in open_checkpoint(folder).weights.tensors.items():
        if name.startswith(f"{side}/"):
            flat = np.fromfile(one.path, np.float32, one.spec.numel, offset=one.extents[0].offset)
            result[name.removeprefix(f"{side}/")] = flat.reshape(one.spec.shape)
    return result


def write(
    folder: Path, config: dict[str, object], arrays: dict[str, np.ndarray], naming: str
) -> None:
    """Write a checkpoint of one model in a naming."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    specs = [TensorSpec(name, "float32", array.shape) for name, array in arrays.items()]
    places = safetensors.create(folder / "model.safetensors", specs, naming, False)
    with (folder / "model.safetensors").open("r+b") as file:
        for name, array in arrays.items():
            file.seek(places[name][0].offset)
            file.write(array.tobytes())


def test_a_bridge(make_pair: MakePair, tmp_path: Path) -> None:
    """The projection that `split` wrote is known by its widths."""
    ckptconv.split(make_pair(dec={"hidden_size": 5}).write(tmp_path / "source"), tmp_path / "parts")
    inspection = ckptconv.inspect(tmp_path / "parts" / "bridge")
    assert (inspection.kind, inspection.problems, inspection.refusal, inspection.targets) == (
        "bridge",
        (),
        "",
        (),
    )
    assert [(part.name, part.parameters) for part in inspection.parts] == [("bridge", 5 * 7 + 5)]


def test_what_cannot_be_a_side(pair: Pair, tmp_path: Path) -> None:
    """A family that is no decoder is shown as an encoder, with the reason for the other side."""
    model = alone(pair, tmp_path)
    model.config |= {"model_type": "distilbert"}
    inspection = ckptconv.inspect(model.write(tmp_path / "model"))
    assert (inspection.kind, inspection.targets[1]) == (
        "encoder",
        Target(
            "join (as decoder)", f"{tmp_path}/model/config.json: 'distilbert' cannot be a decoder."
        ),
    )
    assert inspection.targets[0].converts is False


@pytest.mark.parametrize("naming", ["pytorch", "tf"])
@pytest.mark.parametrize(
    ("flags", "drop", "is_open"),
    [
        ({}, ("crossattention",), True),
        ({"is_decoder": False}, ("crossattention",), True),
        ({"is_decoder": True}, ("crossattention",), False),
        ({}, (), False),
        ({}, ("crossattention", "cls"), False),
    ],
)
def test_a_head_alone_makes_no_decoder(
    pair: Pair,
    tmp_path: Path,
    naming: str,
    flags: dict[str, bool],
    drop: tuple[str, ...],
    is_open: bool,
) -> None:
    """A masked language model may be an encoder or a decoder; flags or a cross-attention prove a decoder."""
    source = pair.write(tmp_path / "pair")
    if naming == "tf":
        ckptconv.pt2tf(source, tmp_path / "whole", "safetensors")
        arrays = part_of(tmp_path / "whole", "decoder")
    else:
        ckptconv.split(source, tmp_path / "parts")
        arrays = load_file(tmp_path / "parts" / "decoder" / "model.safetensors")
    arrays = {
        name: array for name, array in arrays.items() if not any(level in name for level in drop)
    }
    config = pair.config["decoder"].items()
    config = {key: value for key, value in config if key not in DECODING} | flags
    write(tmp_path / "model", config, arrays, naming)
    inspection = ckptconv.inspect(tmp_path / "model")
    text = inspection_text(inspection)
    assert (inspection.open_role, inspection.problems) == (is_open, ())
    assert ("as decoder  bert" in text, "role: an encoder or a decoder" in text) == (
        is_open,
        is_open,
    )
