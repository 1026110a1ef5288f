"""There and back: what `pt2tf` and `pt2flax` wrote becomes the original again, byte for byte, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptconv
from ckptconv import PlanError, SourceError, WriteOptions
from ckptconv.stores.checkpoint import read_weights
from covering import covering
from verbs.test_join import config_of, original, tree, weights

if TYPE_CHECKING:
    from conftest import Cli, MakePair, Pair

WAYS = {
    "tf hdf5": lambda *paths, **more: ckptconv.pt2tf(*paths, "hdf5", WriteOptions(**more)),
    "tf safetensors": lambda *paths, **more: ckptconv.pt2tf(
        *paths, "safetensors", WriteOptions(**more)
    ),
    "flax msgpack": lambda *paths, **more: ckptconv.pt2flax(
        *paths, "msgpack", WriteOptions(**more)
    ),
    "flax safetensors": lambda *paths, **more: ckptconv.pt2flax(
        *paths, "safetensors", WriteOptions(**more)
    ),
    "flax no-heal": lambda *paths, **more: ckptconv.pt2flax(
        *paths, "msgpack", WriteOptions(**more), heal=False
    ),
}
PAIRS: dict[str, dict[str, Any]] = {
    "bert bert": {},
    "roberta gpt2": {},
    "gpt2 roberta": {},
    "roberta roberta": {
        "enc": {"initializer_range": 0.1},
        "dec": {"hidden_size": 5, "initializer_range": 0.1},
    },
}
TYPES = "encoder.embeddings.token_type_embeddings.weight"


def back(way: str) -> Callable[..., Any]:
    """Return the verb that undoes a way."""
    return ckptconv.tf2pt if way.startswith("tf") else ckptconv.flax2pt


def narrow(pair: Pair) -> None:
    """Make every tensor bfloat16."""
    bits = {
        name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in pair.arrays.items()
    }
    pair.arrays, pair.config["dtype"] = dict(bits), "bfloat16"


@pytest.mark.parametrize(("way", "sides", "dtype"), covering(WAYS, PAIRS, ["float32", "float16"]))
def test_there_and_back(
    make_pair: MakePair, tmp_path: Path, way: str, sides: str, dtype: str
) -> None:
    """Every file is the original's: weights, config without a record, generation settings, tokenizer."""
    source = original(make_pair(*sides.split(), dtype=dtype, **PAIRS[sides]), tmp_path / "a")
    there = WAYS[way](source, tmp_path / "b")
    result = back(way)(tmp_path / "b", tmp_path / "c")
    assert tree(tmp_path / "c") == tree(source)
    assert len([notice for notice in result.notices if "healing undone" in notice]) == len(
        there.plan.healed
    )
    assert bool(there.plan.healed) == (
        way in ("flax msgpack", "flax safetensors") and sides != "gpt2 bert"
    )


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("tf hdf5", marks=pytest.mark.thorough),
        "tf safetensors",
        pytest.param("flax msgpack", marks=pytest.mark.thorough),
        "flax no-heal",
    ],
)
def test_shards(make_pair: MakePair, tmp_path: Path, way: str) -> None:
    """Shards on both legs give what `normalize` cuts of the original, and one file gives the original."""
    source = original(make_pair("roberta", "gpt2"), tmp_path / "a")
    there = WAYS[way](source, tmp_path / "b", max_shard_bytes=700)
    assert len(there.files) > 3
    back(way)(tmp_path / "b", tmp_path / "c", WriteOptions(max_shard_bytes=900))
    ckptconv.normalize(source, tmp_path / "d", WriteOptions(max_shard_bytes=900))
    assert tree(tmp_path / "c") == tree(tmp_path / "d")
    back(way)(tmp_path / "b", tmp_path / "e")
    assert tree(tmp_path / "e") == tree(source)


@pytest.mark.parametrize("way", WAYS)
def test_bfloat16(make_pair: MakePair, tmp_path: Path, way: str) -> None:
    """Every format but HDF5 keeps the bits; from HDF5's float32 they come back when asked for."""
    pair = make_pair("roberta", "gpt2")
    narrow(pair)
    source = original(pair, tmp_path / "a")
    WAYS[way](source, tmp_path / "b")
    asked = WriteOptions(dtype="bfloat16") if way == "tf hdf5" else WriteOptions()
    back(way)(tmp_path / "b", tmp_path / "c", asked)
    assert tree(tmp_path / "c") == tree(source)


@pytest.mark.parametrize(
    ("way", "sides", "stored"),
    covering(WAYS, ["bert bert", "roberta roberta"], ["once", "twice"]),
)
def test_shared_sides(
    make_pair: MakePair, tmp_path: Path, way: str, sides: str, stored: str
) -> None:
    """An encoder that is shared with the decoder is written in full, healed where it must be, and comes back."""
    encoder, decoder = sides.split()
    same = {
        "vocab_size": 23,
        "intermediate_size": 13,
        "max_position_embeddings": 17,
        "type_vocab_size": 3,
    }
    pair = make_pair(encoder, decoder, dec=same)
    pair.config["tie_encoder_decoder"] = True
    shared = {
        name: name.replace("encoder.", f"decoder.{decoder}.", 1)
        for name in pair.arrays
        if name[0] == "e"
    }
    shared = {name: twin for name, twin in shared.items() if twin in pair.arrays}
    for name, twin in shared.items():
        pair.arrays[name] = pair.arrays[twin]
    whole = original(pair, tmp_path / "whole")
    if stored == "once":
        pair.arrays = {name: array for name, array in pair.arrays.items() if name not in shared}
    source = original(pair, tmp_path / "a") if stored == "once" else whole
    there = WAYS[way](source, tmp_path / "b")
    assert any("written in full" in notice for notice in there.notices) == (stored == "once")
    back(way)(tmp_path / "b", tmp_path / "c")
    assert tree(tmp_path / "c") == tree(whole)


@pytest.mark.parametrize("way", ["flax msgpack", "flax safetensors"])
def test_repeated_rows_that_were_trained_apart(
    make_pair: MakePair, tmp_path: Path, way: str
) -> None:
    """Healing repeated one row; when the copies differ no single row holds them all, and that is refused."""
    WAYS[way](original(make_pair("roberta", "bert"), tmp_path / "a"), tmp_path / "b")
    stored = read_weights(tmp_path / "b").tensors[
        "encoder/embeddings/token_type_embeddings/embedding"
    ]
    assert stored.spec.shape == (19, 7)
    for row, refused in ((18, False), (16, True)):
        with stored.path.open("r+b") as file:
            file.seek(stored.extents[0].offset + row * 28)
            file.write(np.float32(9).tobytes())
        if not refused:  # a type of its own, which healing moved and did not repeat
            ckptconv.flax2pt(tmp_path / "b", tmp_path / "c")
            assert weights(tmp_path / "c")[TYPES][2, 0] == 9
            continue
        with pytest.raises(PlanError) as refusal:
            ckptconv.flax2pt(tmp_path / "b", tmp_path / "d")
        (problem,) = refusal.value.problems
        assert problem.kind == "not equal"
        assert (
            "healing made them of one row, and only equal rows can be made one again"
            in problem.detail
        )
        assert not (tmp_path / "d").exists()


RECORDS = {
    "another tensor": {
        "healed": [{"tensor": "encoder.embeddings.word_embeddings.weight", "rolled_rows": 2}]
    },
    "another count": {
        "healed": [{"tensor": "encoder.embeddings.position_embeddings.weight", "rolled_rows": 3}]
    },
    "another key": {
        "healed": [{"tensor": TYPES, "repeated_row_0": 17, "type_vocab_size": 3, "vocab_size": 5}]
    },
    "no object": {"healed": ["everything"]},
    "no list": {"healed": "everything"},
    "no tensor": {"healed": [{}]},
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_forged_record(make_pair: MakePair, tmp_path: Path, record: str) -> None:
    """A record that this pair's healing never writes is refused, not guessed at."""
    ckptconv.pt2flax(original(make_pair("roberta", "bert"), tmp_path / "a"), tmp_path / "b")
    config = config_of(tmp_path / "b") | {"ckptconv": RECORDS[record]}
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        SourceError, match=r"ckptconv\.healed (names what this pair does not need|must be a list)"
    ):
        ckptconv.flax2pt(tmp_path / "b", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_forged_list_of_settings(make_pair: MakePair, tmp_path: Path) -> None:
    """A record of added settings that is no list of words is refused."""
    ckptconv.pt2flax(original(make_pair("roberta", "bert"), tmp_path / "a"), tmp_path / "b")
    config = config_of(tmp_path / "b") | {"ckptconv": {"added": [{"encoder": "initializer_range"}]}}
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=r"ckptconv\.added must be a list of strings"):
        ckptconv.flax2pt(tmp_path / "b", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_record_that_was_lost(make_pair: MakePair, tmp_path: Path) -> None:
    """Without its record a healed table has a shape that the config contradicts."""
    ckptconv.pt2flax(original(make_pair("roberta", "bert"), tmp_path / "a"), tmp_path / "b")
    config = config_of(tmp_path / "b")
    del config["ckptconv"]
    config["encoder"]["type_vocab_size"] = 3
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        PlanError,
        match=r"token_type_embeddings/embedding: expected \[3, 7\] \(row, dim\), found \[19",
    ):
        ckptconv.flax2pt(tmp_path / "b", tmp_path / "c", positions="as-pytorch")


@pytest.mark.parametrize("verb", ["tf2pt", "flax2pt"])
def test_a_directory_of_another_framework(pair: Pair, tmp_path: Path, cli: Cli, verb: str) -> None:
    """What is there is named; where a verb makes PyTorch's of it, the verb as well."""
    source = original(pair, tmp_path / "a")
    run = cli(verb, source, tmp_path / "b")
    assert run.code == 3
    assert (
        f"{source}: no {verb[:-3]} weights here; there is model.safetensors (pytorch)." in run.err
    )
    (ckptconv.pt2tf if verb == "tf2pt" else ckptconv.pt2flax)(source, tmp_path / "b")
    run = cli("pt2flax", tmp_path / "b", tmp_path / "c")
    assert run.code == 3
    assert f"`ckptconv {verb}` makes PyTorch's of them" in run.err
    assert not (tmp_path / "c").exists()


def untied(make_pair: MakePair, *, equal: bool) -> Pair:
    """Return a bert -> bert pair whose head has weights of its own, equal to the embeddings or not."""
    pair = make_pair(dec={"tie_word_embeddings": False})
    words = pair.arrays["decoder.bert.embeddings.word_embeddings.weight"]
    pair.arrays["decoder.cls.predictions.decoder.weight"] = words + np.float32(0 if equal else 0.5)
    return pair


@pytest.mark.parametrize(("way", "equal"), covering(WAYS, [True, False]))
def test_a_head_of_its_own(make_pair: MakePair, tmp_path: Path, way: str, equal: bool) -> None:
    """Flax holds it; TF has no place for it, and holds it only where it repeats the embeddings bit for bit."""
    source = original(untied(make_pair, equal=equal), tmp_path / "a")
    if way.startswith("tf") and not equal:
        with pytest.raises(PlanError) as refusal:
            WAYS[way](source, tmp_path / "b")
        (problem,) = refusal.value.problems
        assert (problem.kind, problem.name) == (
            "cannot hold",
            "decoder.cls.predictions.decoder.weight",
        )
        assert problem.detail == (
            "203 of 203 elements differ, by at most 0.5, from decoder.bert.embeddings.word_embeddings.weight;"
            " tf classes have no head of their own: they reuse the embeddings"
        )
        assert not (tmp_path / "b").exists()
        return
    WAYS[way](source, tmp_path / "b")
    back(way)(tmp_path / "b", tmp_path / "c")
    assert tree(tmp_path / "c") == tree(source)


def test_a_head_that_tf_never_had(make_pair: MakePair, tmp_path: Path) -> None:
    """From TF, a config that unties the head gets the values with which TF computes: the embeddings'."""
    ckptconv.pt2tf(original(make_pair(), tmp_path / "a"), tmp_path / "b")
    config = config_of(tmp_path / "b")
    config["decoder"]["tie_word_embeddings"] = False
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    ckptconv.tf2pt(tmp_path / "b", tmp_path / "c")
    result, before = weights(tmp_path / "c"), weights(tmp_path / "a")
    head = result.pop("decoder.cls.predictions.decoder.weight")
    assert np.array_equal(head, result["decoder.bert.embeddings.word_embeddings.weight"])
    assert result.keys() == before.keys()


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_a_roberta_decoder_that_starts_with_padding(
    make_pair: MakePair, tmp_path: Path, file: str
) -> None:
    """Flax cannot number its positions, so pt2flax refuses it and says what would do; the first file counts."""
    pair = make_pair("bert", "roberta")
    for start, name in ((0, "right"), (1, "wrong")):
        pair.config["decoder_start_token_id"] = start if file == "config.json" else 1
        source = original(pair, tmp_path / name)
        (source / "generation_config.json").unlink()
        if file == "generation_config.json":
            (source / file).write_text(json.dumps({"decoder_start_token_id": start}))
    ckptconv.pt2flax(tmp_path / "right", tmp_path / "flax")
    with pytest.raises(
        SourceError, match=r"decoder_start_token_id is the decoder's pad_token_id \(1\)"
    ) as refusal:
        ckptconv.pt2flax(tmp_path / "wrong", tmp_path / "none")
    assert "pt2tf can convert it" in str(refusal.value)
    assert not (tmp_path / "none").exists()
    for verb in (ckptconv.pt2tf, lambda *paths: ckptconv.pt2flax(*paths, heal=False)):
        verb(tmp_path / "wrong", tmp_path / f"done-{verb.__name__}")
