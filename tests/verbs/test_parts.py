"""Parts of another shape than the whole: heads, old names, copies of self-attention, shared sides, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptconv
from ckptconv import JoinOptions, PlanError, SourceError
from ckptconv.binding.plan import Move
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from ckptconv.transfer.pieces import OpenFiles, Pieces
from ckptconv.verbs.parts import from_self_attention
from verbs.test_join import config_of, original, part, tree, two, weights

if TYPE_CHECKING:
    from conftest import Cli, MakePair, Pair

GPT2 = "decoder.transformer.h.0"
NEW = ("crossattention", "ln_cross_attn", "cls.")


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_an_encoder_with_or_without_a_head(pair: Pair, tmp_path: Path, prefix: str) -> None:
    """The base model is found at the top or below `bert.`; what else the file holds is named and left."""
    encoder = part(pair, "encoder", tmp_path / "one", prefix)
    if prefix:
        heads = type(pair)(
            config_of(encoder),
            {
                **weights(encoder),
                **{f"cls.{name}": np.ones((2, 7), np.float32) for name in ("a", "b", "c", "d")},
            },
        )
        encoder = heads.write(tmp_path / "with-head")
    result = ckptconv.join(encoder, part(pair, "decoder", tmp_path / "two"), tmp_path / "out")
    arrays = weights(tmp_path / "out")
    assert arrays.keys() == pair.arrays.keys()
    assert all(np.array_equal(arrays[name], pair.arrays[name]) for name in arrays)
    assert list(result.notices) == (
        ["encoder: not used: cls.a, cls.b, cls.c and 1 more"] if prefix else []
    )


def test_a_decoder_from_a_base_model(make_pair: MakePair, tmp_path: Path) -> None:
    """What `AutoModel` saved has no level for the base model and a pooler that no decoder has."""
    pair = make_pair("bert", "bert")
    decoder = part(pair, "decoder", tmp_path / "two", drop=NEW)
    base = {name.removeprefix("bert."): array for name, array in weights(decoder).items()}
    base |= {f"pooler.dense.{role}": np.ones((7, 7), np.float32) for role in ("weight", "bias")}
    decoder = type(pair)(config_of(decoder), base).write(tmp_path / "base")
    result = ckptconv.join(part(pair, "encoder", tmp_path / "one"), decoder, tmp_path / "out")
    arrays = weights(tmp_path / "out")
    old = {name for name in pair.arrays if not any(item in name for item in NEW)}
    assert arrays.keys() == pair.arrays.keys()
    assert all(np.array_equal(arrays[name], pair.arrays[name]) for name in old)
    assert result.notices[0] == "decoder: not used: pooler.dense.bias, pooler.dense.weight"


def test_an_encoder_without_pooler(pair: Pair, tmp_path: Path) -> None:
    """The pooler that a language model lacks is written as zeros, and said."""
    encoder = part(pair, "encoder", tmp_path / "one", "bert.", drop=["pooler"])
    result = ckptconv.join(encoder, part(pair, "decoder", tmp_path / "two"), tmp_path / "out")
    arrays = weights(tmp_path / "out")
    assert arrays.keys() == pair.arrays.keys()
    assert not arrays["encoder.pooler.dense.weight"].any()
    assert (
        "encoder.pooler.dense.weight and 1 more: not in the source, written as zeros"
        in (result.notices[0])
    )


def test_twice_the_same_tensor(pair: Pair, tmp_path: Path) -> None:
    """One tensor under two of its names, or in two spellings, is refused; each is listed."""
    encoder = part(pair, "encoder", tmp_path / "one")
    arrays = weights(encoder)
    arrays["bert.embeddings.word_embeddings.weight"] = arrays["embeddings.word_embeddings.weight"]
    arrays["embeddings.LayerNorm.gamma"] = arrays["embeddings.LayerNorm.weight"]
    twice = type(pair)(config_of(encoder), arrays).write(tmp_path / "twice")
    with pytest.raises(PlanError) as refusal:
        ckptconv.join(twice, part(pair, "decoder", tmp_path / "two"), tmp_path / "out")
    assert {(problem.kind, problem.name, problem.detail) for problem in refusal.value.problems} == {
        (
            "duplicate",
            "embeddings.word_embeddings.weight",
            "the same tensor as bert.embeddings.word_embeddings.weight",
        ),
        (
            "duplicate",
            "embeddings.LayerNorm.weight",
            "the same tensor as embeddings.LayerNorm.gamma",
        ),
    }
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_self_attention_of_bert(pair: Pair, tmp_path: Path, legacy: bool) -> None:
    """`--cross-attention self` copies every tensor from the self-attention beside it, whatever its spelling."""
    encoder, decoder = two(pair, tmp_path)
    if legacy:
        old = {
            name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): array
            for name, array in weights(decoder).items()
        }
        assert old.keys() != weights(decoder).keys()
        decoder = type(pair)(config_of(decoder), old).write(tmp_path / "old")
    result = ckptconv.join(encoder, decoder, tmp_path / "out", JoinOptions(cross_attention="self"))
    arrays = weights(tmp_path / "out")
    cross = {name for name in arrays if ".crossattention." in name}
    assert len(cross) == 20
    for name in cross:
        assert np.array_equal(
            arrays[name], pair.arrays[name.replace(".crossattention.", ".attention.")]
        ), name
    assert [notice.split(":")[0] for notice in result.notices] == ["head"]


def test_self_attention_of_gpt2(make_pair: MakePair, tmp_path: Path, cli: Cli) -> None:
    """Query is the first third of `c_attn`, key and value are the others: weights and biases, by numpy's slices."""
    pair = make_pair(decoder="gpt2")
    run = cli("join", *two(pair, tmp_path), tmp_path / "out", "--cross-attention", "self")
    assert (run.code, "new" in run.err) == (0, False)
    arrays = weights(tmp_path / "out")
    whole = {role: pair.arrays[f"{GPT2}.attn.c_attn.{role}"] for role in ("weight", "bias")}
    for role, array in whole.items():
        assert np.array_equal(arrays[f"{GPT2}.crossattention.q_attn.{role}"], array[..., :7])
        assert np.array_equal(arrays[f"{GPT2}.crossattention.c_attn.{role}"], array[..., 7:])
        assert np.array_equal(
            arrays[f"{GPT2}.crossattention.c_proj.{role}"],
            pair.arrays[f"{GPT2}.attn.c_proj.{role}"],
        )
        assert np.array_equal(
            arrays[f"{GPT2}.ln_cross_attn.{role}"], pair.arrays[f"{GPT2}.ln_1.{role}"]
        )
    assert arrays.keys() == pair.arrays.keys()


def test_a_third_of_a_transposed_view(make_pair: MakePair, tmp_path: Path) -> None:
    """A tensor that lies column by column in its file, as PyTorch may save a view, is cut along the same axis."""
    pair = make_pair(decoder="gpt2")
    composition = read_model(Config(pair.config))
    name = f"{GPT2}.attn.c_attn.weight"
    (tmp_path / "data").write_bytes(pair.arrays[name].T.tobytes())
    view = Stored.in_file(
        TensorSpec(name, "float32", (7, 21)), tmp_path / "data", (Extent(0, 588),), (1, 7)
    )
    row = next(
        row for row in composition.tensors if row.key == f"{GPT2}.crossattention.c_attn.weight"
    )
    source, ops = from_self_attention([row], composition, {name: view})[row.key]
    move = Move(row, TensorSpec("new", "float32", (7, 14)), source, ops)
    with OpenFiles() as files:
        values = np.frombuffer(b"".join(Pieces(files).of(move)), np.float32)
    assert np.array_equal(values.reshape(7, 14), pair.arrays[name][:, 7:])


def test_a_misshapen_self_attention(make_pair: MakePair, tmp_path: Path) -> None:
    """What cannot be cut into thirds is refused by its shape."""
    pair = make_pair(decoder="gpt2")
    pair.arrays[f"{GPT2}.attn.c_attn.weight"] = pair.arrays[f"{GPT2}.attn.c_attn.weight"].ravel()
    with pytest.raises(
        PlanError, match=r"attn.c_attn.weight: expected \[7, 21\] \(in, out\), found \[147\]"
    ):
        ckptconv.join(*two(pair, tmp_path), tmp_path / "out", JoinOptions(cross_attention="self"))


@pytest.mark.parametrize("beside", [True, False])
def test_tie(make_pair: MakePair, tmp_path: Path, beside: bool) -> None:
    """Equal sides may be shared: both are written in full, and the config says that they are one."""
    pair = _equal(make_pair)
    if beside:
        ckptconv.split(original(pair, tmp_path / "a"), tmp_path / "parts")
    parts = tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder"
    if not beside:
        parts = two(pair, tmp_path, drop=["crossattention"])
    ckptconv.join(*parts, tmp_path / "out", JoinOptions(tie=True))
    arrays = weights(tmp_path / "out")
    assert arrays.keys() == pair.arrays.keys()
    assert all(
        np.array_equal(arrays[name], pair.arrays[name])
        for name in arrays
        if beside or "crossatt" not in name
    )
    assert config_of(tmp_path / "out")["tie_encoder_decoder"] is True
    ckptconv.normalize(tmp_path / "out", tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "out")


def test_tie_of_unequal_sides(make_pair: MakePair, tmp_path: Path) -> None:
    """Sides that differ are refused, with every tensor that does and by how much; nothing is written."""
    pair = _equal(make_pair)
    changed = [
        "encoder.embeddings.LayerNorm.bias",
        "encoder.encoder.layer.1.attention.self.key.weight",
    ]
    for name in changed:
        pair.arrays[name] = pair.arrays[name] + np.float32(1)
    with pytest.raises(PlanError) as refusal:
        ckptconv.join(*two(pair, tmp_path), tmp_path / "out", JoinOptions(tie=True))
    details = {problem.name: problem.detail for problem in refusal.value.problems}
    assert list(details) == changed
    assert details[changed[0]].startswith(
        "7 of 7 elements differ, by at most 1, from decoder.bert.embeddings.LayerNorm"
    )
    assert not (tmp_path / "out").exists()


def test_part_of_a_cross_attention(pair: Pair, tmp_path: Path) -> None:
    """A cross-attention that is there in part is a damaged one: each missing tensor is named, none is drawn."""
    with pytest.raises(PlanError) as refusal:
        ckptconv.join(*two(pair, tmp_path, drop=["1.crossattention"]), tmp_path / "out")
    assert {problem.kind for problem in refusal.value.problems} == {"missing"}
    assert {problem.name for problem in refusal.value.problems} == {
        name for name in pair.arrays if "1.crossattention" in name
    }
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_composite_is_no_part(pair: Pair, tmp_path: Path, side: str) -> None:
    """An encoder-decoder in the place of a part is refused, and the verb that takes it apart is named."""
    parts = dict(zip(("encoder", "decoder"), two(pair, tmp_path), strict=True))
    parts[side] = original(pair, tmp_path / "whole")
    with pytest.raises(SourceError) as refusal:
        ckptconv.join(parts["encoder"], parts["decoder"], tmp_path / "out")
    whole = tmp_path / "whole"
    advice = "is already an encoder-decoder; `ckptconv split` gives its encoder and decoder."
    assert str(refusal.value) == f"{whole}: {advice}"


def test_a_dry_run(pair: Pair, tmp_path: Path) -> None:
    """The plan and the notices are those of the run; nothing is written."""
    parts = two(pair, tmp_path)
    before = tree(tmp_path)
    dry = ckptconv.join(*parts, tmp_path / "out", JoinOptions(dry_run=True, seed=2))
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
    conversion = ckptconv.join(*parts, tmp_path / "out", JoinOptions(seed=2))
    assert replace(dry, files=conversion.files) == conversion
    assert conversion.files == ("model.safetensors",)


def _equal(make_pair: Any) -> Any:
    """Return a bert -> bert pair whose encoder has the values of its decoder."""
    same = {
        "vocab_size": 23,
        "intermediate_size": 13,
        "max_position_embeddings": 17,
        "type_vocab_size": 3,
    }
    pair = make_pair(dec=same)
    for name in pair.arrays:
        twin = name.replace("encoder.", "decoder.bert.", 1)
        if name.startswith("encoder.") and twin in pair.arrays:
            pair.arrays[name] = pair.arrays[twin]
    return pair
