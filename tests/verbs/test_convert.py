"""`pt2tf` and `pt2flax`: the target's config, healing and its record, the bridge, dtypes, sources of any kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import SourceError, WriteOptions
from ckptconv.stores.checkpoint import read_weights
from ckptconv.transfer.pieces import OpenFiles, Pieces

if TYPE_CHECKING:
    from conftest import MakePair, Pair

POSITIONS = "embeddings/position_embeddings/embedding"
TYPES = "encoder/embeddings/token_type_embeddings/embedding"


def config_of(folder: Path) -> dict[str, Any]:
    """Return a directory's config."""
    return dict(json.loads((folder / "config.json").read_text()))


def flax_of(pair: Pair, folder: Path, *, heal: bool = True) -> dict[str, np.ndarray[Any, Any]]:
    """Convert to Flax's safetensors, and read them with the reference library."""
    ckptconv.pt2flax(pair.write(folder / "source"), folder / "out", "safetensors", heal=heal)
    return {
        name.replace(".", "/"): array
        for name, array in load_file(folder / "out" / "model.safetensors").items()
    }


@pytest.mark.parametrize("verb", [ckptconv.pt2tf, ckptconv.pt2flax])
def test_the_config_travels(make_pair: MakePair, tmp_path: Path, verb: Any) -> None:
    """The config is the source's with its class, sorted as transformers writes it; unknown keys stay."""
    pair = make_pair("gpt2", "bert")
    pair.config["task_specific_params"] = {"a": [1, {"b": None}]}
    result = verb(pair.write(tmp_path / "source"), tmp_path / "out")
    expected = {**pair.config, "architectures": ["EncoderDecoderModel"]}
    text = (tmp_path / "out" / "config.json").read_text()
    assert text == json.dumps(expected, indent=2, sort_keys=True) + "\n"
    assert (result.pair, result.notices, result.plan.healed) == ("gpt2 -> bert", (), ())


def test_healing_moves_rows_and_is_recorded(make_pair: MakePair, tmp_path: Path) -> None:
    """Rolled positions, repeated token types; the config says what was done and has the new size."""
    pair = make_pair("roberta", "roberta")
    result = flax_of(pair, tmp_path)
    before = {
        name: pair.arrays[f"{name}.weight"]
        for name in (
            "encoder.embeddings.position_embeddings",
            "decoder.roberta.embeddings.position_embeddings",
            "encoder.embeddings.token_type_embeddings",
        )
    }
    encoder, decoder, types = before.values()
    assert np.array_equal(result[f"encoder/{POSITIONS}"], np.roll(encoder, -2, axis=0))
    assert np.array_equal(result[f"decoder/roberta/{POSITIONS}"], np.roll(decoder, -2, axis=0))
    assert np.array_equal(result[TYPES], np.concatenate([np.tile(types[:1], (17, 1)), types[1:]]))
    config = config_of(tmp_path / "out")
    assert config.pop("ckptconv") == {
        "healed": [
            {"tensor": "encoder.embeddings.position_embeddings.weight", "rolled_rows": 2},
            {
                "tensor": "encoder.embeddings.token_type_embeddings.weight",
                "repeated_row_0": 17,
                "type_vocab_size": 3,
            },
            {"tensor": "decoder.roberta.embeddings.position_embeddings.weight", "rolled_rows": 2},
        ]
    }
    encoder_config = {**pair.config["encoder"], "type_vocab_size": 19}
    assert config == {
        **pair.config,
        "encoder": encoder_config,
        "architectures": ["EncoderDecoderModel"],
    }


@pytest.mark.parametrize("verb", ["pt2tf", "pt2flax --no-heal"])
def test_without_healing_nothing_moves(make_pair: MakePair, tmp_path: Path, verb: str) -> None:
    """TF needs no healing, and Flax gets none where the user wants none: no record, no other size."""
    pair = make_pair("roberta", "roberta")
    if verb == "pt2tf":
        ckptconv.pt2tf(pair.write(tmp_path / "source"), tmp_path / "out")
        with h5py.File(tmp_path / "out" / "tf_model.h5") as file:
            name = "encoder/roberta/embeddings/token_type_embeddings/embeddings:0"
            types = file["encoder"][f"tf_encoder_decoder_model/{name}"][()]
    else:
        types = flax_of(pair, tmp_path, heal=False)[TYPES]
    assert np.array_equal(types, pair.arrays["encoder.embeddings.token_type_embeddings.weight"])
    assert config_of(tmp_path / "out") == {**pair.config, "architectures": ["EncoderDecoderModel"]}


@pytest.mark.parametrize(
    ("verb", "name"),
    [(ckptconv.pt2tf, "enc_to_dec_proj/kernel:0"), (ckptconv.pt2flax, "enc_to_dec_proj/kernel")],
)
def test_the_bridge(make_pair: MakePair, tmp_path: Path, verb: Any, name: str) -> None:
    """The projection between sides of different widths is a dense layer as any other: turned round."""
    pair = make_pair(dec={"hidden_size": 5})
    result = verb(pair.write(tmp_path / "source"), tmp_path / "out", "safetensors")
    (move,) = (move for move in result.plan.moves if move.target.name == name)
    assert (move.target.shape, move.permutation) == ((7, 5), (1, 0))
    (outcome,) = (
        array
        for key, array in load_file(tmp_path / "out" / "model.safetensors").items()
        if key.replace(".", "/") == name
    )
    assert np.array_equal(outcome, pair.arrays["enc_to_dec_proj.weight"].T)


def test_conv1d(make_pair: MakePair, tmp_path: Path) -> None:
    """GPT-2's layers are already (in, out): only Flax turns them."""
    pair = make_pair(decoder="gpt2")
    expected = pair.arrays["decoder.transformer.h.0.attn.c_attn.weight"]
    assert expected.shape == (7, 21)
    assert np.array_equal(
        flax_of(pair, tmp_path)["decoder/transformer/h/0/attn/c_attn/kernel"], expected.T
    )


def test_bfloat16_is_widened_for_hdf5_only(pair: Pair, tmp_path: Path) -> None:
    """Without being asked, HDF5 gets float32, in the config too; msgpack keeps the bits."""
    bits = {
        name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in pair.arrays.items()
    }
    pair.arrays, pair.config["dtype"] = dict(bits), "bfloat16"
    source = pair.write(tmp_path / "source")
    tf, flax = (
        ckptconv.pt2tf(source, tmp_path / "tf"),
        ckptconv.pt2flax(source, tmp_path / "flax", heal=False),
    )
    assert (tf.notices, flax.notices) == (
        ("HDF5 has no bfloat16: written as float32, every value kept",),
        (),
    )
    assert (config_of(tmp_path / "tf")["dtype"], config_of(tmp_path / "flax")["dtype"]) == (
        "float32",
        "bfloat16",
    )
    for result, folder in ((tf, "tf"), (flax, "flax")):
        (move,) = (
            move for move in result.plan.moves if move.tensor.key == "decoder.cls.predictions.bias"
        )
        stored = read_weights(tmp_path / folder).tensors[move.target.name]
        with OpenFiles() as files:
            (data,) = (bytes(piece) for piece in Pieces(files).straight(stored))
        expected = bits["decoder.cls.predictions.bias"].view(ml_dtypes.bfloat16)
        assert data == (expected.astype(np.float32) if folder == "tf" else expected).tobytes()


def test_bfloat16_that_is_asked_for_and_not_written(pair: Pair, tmp_path: Path) -> None:
    """HDF5 gets float32 where `dtype` asks for bfloat16, and a notice says that nothing was rounded."""
    source = pair.write(tmp_path / "source")
    result = ckptconv.pt2tf(source, tmp_path / "tf", options=WriteOptions(dtype="bfloat16"))
    assert {move.target.dtype for move in result.plan.moves} == {"float32"}
    assert (
        "HDF5 has no bfloat16: --dtype bfloat16 writes float32, and rounds nothing to bfloat16"
        in result.notices
    )


def test_a_sharded_source(pair: Pair, tmp_path: Path) -> None:
    """What `split` and `normalize` cut is read through its index; the result is the same file."""
    source = pair.write(tmp_path / "source")
    ckptconv.normalize(source, tmp_path / "cut", WriteOptions(max_shard_bytes=500))
    assert len(list((tmp_path / "cut").glob("model-*.safetensors"))) > 5
    for name in ("source", "cut"):
        ckptconv.pt2flax(tmp_path / name, tmp_path / f"{name}-flax")
    first, second = (tmp_path / f"{name}-flax" / "flax_model.msgpack" for name in ("source", "cut"))
    assert first.read_bytes() == second.read_bytes()


def test_a_dry_run_is_the_plan_of_the_run(pair: Pair, tmp_path: Path) -> None:
    """The same plan and notices, no file, and the target may even exist."""
    source = pair.write(tmp_path / "source")
    dry = ckptconv.pt2flax(source, tmp_path / "out", options=WriteOptions(dry_run=True))
    assert (dry.files, list(tmp_path.iterdir())) == ((), [source])
    conversion = ckptconv.pt2flax(source, tmp_path / "out")
    assert (conversion.plan, conversion.notices, conversion.files) == (
        dry.plan,
        dry.notices,
        ("flax_model.msgpack",),
    )


def test_flax_cannot_load_shards_of_safetensors(pair: Pair, tmp_path: Path) -> None:
    """What the class could not load is refused before anything is written."""
    source = pair.write(tmp_path / "source")
    with pytest.raises(SourceError, match="loads only one file of that format"):
        ckptconv.pt2flax(
            source, tmp_path / "out", "safetensors", WriteOptions(max_shard_bytes=2000)
        )
    assert list(tmp_path.iterdir()) == [source]
