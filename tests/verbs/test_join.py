"""`join`: what `split` took apart becomes the original; what nobody has yet is drawn, copied or shared."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import JoinOptions, PlanError, SourceError, WriteOptions
from ckptconv.transfer.manifest import MANIFEST, SUMS
from covering import covering
from transfer.test_drawing import DIGEST, NAME

if TYPE_CHECKING:
    from conftest import Cli, MakePair, Pair

FILES = {
    "generation_config.json": '{"max_length": 9}\n',
    "tokenizer.json": "{}\n",
    "vocab.txt": "a\nb\n",
}
LAYER = "decoder.bert.encoder.layer.0"


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but what says how it came to be."""
    paths = [
        path for path in folder.rglob("*") if path.is_file() and path.name not in (MANIFEST, SUMS)
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def weights(folder: Path) -> dict[str, Any]:
    """Return every tensor, read by the reference library."""
    result: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        result |= load_file(file)
    return result


def config_of(folder: Path) -> dict[str, Any]:
    """Return a directory's config."""
    return dict(json.loads((folder / "config.json").read_text()))


def original(pair: Pair, folder: Path) -> Path:
    """Write a pair as `EncoderDecoderModel.save_pretrained` would, with a tokenizer."""
    pair.config["architectures"] = ["EncoderDecoderModel"]
    pair.files = dict(FILES)
    return pair.write(folder)


def part(pair: Pair, side: str, folder: Path, prefix: str = "", drop: Iterable[str] = ()) -> Path:
    """Write one side as a model of its own; `drop` names pieces of what it lacks."""
    config = {
        key: value
        for key, value in pair.config[side].items()
        if key not in ("is_decoder", "add_cross_attention")
    }
    arrays = {
        prefix + name.removeprefix(f"{side}."): array
        for name, array in pair.arrays.items()
        if name.startswith(f"{side}.") and not any(item in name for item in drop)
    }
    return type(pair)(config, arrays).write(folder)


def two(
    pair: Pair, folder: Path, drop: Iterable[str] = ("crossattention", "ln_cross_attn", "cls.")
) -> tuple[Path, Path]:
    """Write both sides as models that were never joined."""
    return part(pair, "encoder", folder / "one"), part(pair, "decoder", folder / "two", drop=drop)


@pytest.mark.parametrize(
    ("sides", "dtype"),
    covering(
        ["bert bert", "roberta gpt2", "gpt2 roberta", "bert bert bridge"], ["float32", "float16"]
    ),
)
def test_split_then_join_is_the_original(
    make_pair: MakePair, tmp_path: Path, sides: str, dtype: str
) -> None:
    """Every file is the same, byte for byte: weights, config, generation settings, tokenizer."""
    encoder, decoder, *bridge = sides.split()
    source = original(
        make_pair(encoder, decoder, dec={"hidden_size": 5} if bridge else {}, dtype=dtype),
        tmp_path / "a",
    )
    ckptconv.split(source, tmp_path / "parts")
    result = ckptconv.join(
        tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder", tmp_path / "b"
    )
    assert tree(tmp_path / "b") == tree(source)
    said = [f"config and what else belongs to the whole: taken from {tmp_path / 'parts'}"]
    assert list(result.notices) == said + (
        [f"bridge: taken from {tmp_path / 'parts' / 'bridge'}"] if bridge else []
    )
    assert result.sources == (tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder")


def test_from_within_a_part(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are named from where one stands are the same parts: what belongs to the whole is found above."""
    source = original(pair, tmp_path / "a")
    ckptconv.split(source, tmp_path / "parts")
    monkeypatch.chdir(tmp_path / "parts" / "encoder")
    ckptconv.join(".", "../decoder", tmp_path / "b")
    assert tree(tmp_path / "b") == tree(source)


@pytest.mark.thorough
def test_shards(make_pair: MakePair, tmp_path: Path) -> None:
    """Parts in shards, joined into one file or into shards, are the original in as many."""
    source = original(make_pair(dec={"hidden_size": 5}), tmp_path / "a")
    ckptconv.split(source, tmp_path / "parts", WriteOptions(max_shard_bytes=700))
    parts = tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder"
    assert min(len(list(item.glob("model-*.safetensors"))) for item in parts) > 2
    ckptconv.join(*parts, tmp_path / "b")
    assert tree(tmp_path / "b") == tree(source)
    ckptconv.normalize(source, tmp_path / "c", WriteOptions(max_shard_bytes=900))
    ckptconv.join(*parts, tmp_path / "d", JoinOptions(max_shard_bytes=900))
    assert tree(tmp_path / "d") == tree(tmp_path / "c")
    assert len(tree(tmp_path / "d")) > len(tree(source))


def test_bridge(make_pair: MakePair, tmp_path: Path, cli: Cli) -> None:
    """It is taken from where `--bridge` says, and said; without any, one is drawn, and said."""
    source = original(make_pair(dec={"hidden_size": 5}), tmp_path / "a")
    ckptconv.split(source, tmp_path / "parts")
    parts = tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder"
    elsewhere = (tmp_path / "parts" / "bridge").rename(tmp_path / "elsewhere")
    run = cli("join", *parts, tmp_path / "b", "--bridge", elsewhere)
    assert (run.code, f"bridge: taken from {elsewhere}" in run.err) == (0, True)
    assert tree(tmp_path / "b") == tree(source)
    run = cli("join", *parts, tmp_path / "c", "--seed", "4")
    assert (
        run.code,
        "bridge: 2 tensors are new, drawn with seed 4; train them before use" in run.err,
    ) == (0, True)
    result, before = weights(tmp_path / "c"), weights(source)
    drawn = {"enc_to_dec_proj.weight", "enc_to_dec_proj.bias"}
    assert {name for name in before if not np.array_equal(result[name], before[name])} == drawn
    assert not result["enc_to_dec_proj.bias"].any()
    assert np.unique(result["enc_to_dec_proj.weight"]).size == 35


def test_a_bridge_that_is_not_needed(pair: Pair, make_pair: MakePair, tmp_path: Path) -> None:
    """A projection for sides of one width, or of another shape, is refused."""
    ckptconv.split(original(make_pair(dec={"hidden_size": 5}), tmp_path / "a"), tmp_path / "parts")
    ckptconv.split(original(pair, tmp_path / "b"), tmp_path / "others")
    bridge = JoinOptions(bridge=tmp_path / "parts" / "bridge")
    with pytest.raises(
        SourceError, match="encoder and decoder have the same width, so there is no bridge"
    ):
        ckptconv.join(
            tmp_path / "others" / "encoder",
            tmp_path / "others" / "decoder",
            tmp_path / "out",
            bridge,
        )
    decoder = part(make_pair(dec={"hidden_size": 3}), "decoder", tmp_path / "decoder")
    with pytest.raises(
        PlanError, match=r"enc_to_dec_proj.weight: expected \[3, 7\] \(out, in\), found \[5, 7\]"
    ):
        ckptconv.join(tmp_path / "others" / "encoder", decoder, tmp_path / "out", bridge)
    assert not (tmp_path / "out").exists()


def test_another_config_beside_the_parts_is_not_theirs(pair: Pair, tmp_path: Path) -> None:
    """A part whose config was changed since is no part of the whole beside it: nothing of that is taken."""
    ckptconv.split(original(pair, tmp_path / "a"), tmp_path / "parts")
    parts = tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder"
    changed = config_of(parts[1]) | {"bos_token_id": 5}
    (parts[1] / "config.json").write_text(json.dumps(changed))
    result = ckptconv.join(*parts, tmp_path / "b")
    assert result.notices == ()
    assert config_of(tmp_path / "b")["decoder"] == changed
    assert not (tmp_path / "b" / "generation_config.json").exists()
    assert (tmp_path / "b" / "tokenizer.json").is_file()  # the encoder's own copy
    assert weights(tmp_path / "b").keys() == pair.arrays.keys()


def test_two_models(pair: Pair, tmp_path: Path) -> None:
    """From two base models: what exists is copied, the config is composed, and what is new is drawn as pinned."""
    result = ckptconv.join(*two(pair, tmp_path), tmp_path / "out")
    arrays = weights(tmp_path / "out")
    new = {name for name in arrays if "crossattention" in name or ".cls." in name}
    assert arrays.keys() == pair.arrays.keys()
    assert {name for name in arrays if not np.array_equal(arrays[name], pair.arrays[name])} == new
    assert sha256(arrays[NAME].astype("<f4").tobytes()).hexdigest() == DIGEST
    for name in new:
        values = np.unique(arrays[name])
        if "LayerNorm" in name:
            assert values.tolist() == [float(name.endswith("weight"))], name
        elif name.endswith("bias"):
            assert values.tolist() == [0.0], name
        else:
            assert 0.01 < arrays[name].std() < 0.03, name
    assert list(result.notices) == [
        "cross-attention: 20 tensors are new, drawn with seed 0; train them before use",
        "head: 5 tensors are new, drawn with seed 0; train them before use",
    ]


def test_config_of_two_models(pair: Pair, tmp_path: Path) -> None:
    """The decoder becomes one that reads an encoder; nothing else changes."""
    ckptconv.join(*two(pair, tmp_path), tmp_path / "out")
    expected = {
        key: value
        for key, value in pair.config.items()
        if key not in ("dtype", "transformers_version")
    }
    assert config_of(tmp_path / "out") == {**expected, "architectures": ["EncoderDecoderModel"]}
    assert config_of(tmp_path / "out")["decoder"]["is_decoder"] is True
    inspected = ckptconv.inspect(tmp_path / "out")
    assert (inspected.pair, inspected.problems, inspected.refusal) == ("bert -> bert", (), "")


def test_seed(pair: Pair, tmp_path: Path) -> None:
    """The same seed gives the same files; another changes every weight that is drawn, and nothing else."""
    parts = two(pair, tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ckptconv.join(*parts, tmp_path / name, JoinOptions(seed=seed))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    first, second = weights(tmp_path / "a"), weights(tmp_path / "c")
    drawn = {name for name in first if not np.array_equal(first[name], second[name])}
    assert drawn == {
        name
        for name in first
        if ("crossattention" in name or "cls." in name)
        and name.endswith("weight")
        and "LayerNorm" not in name
    }


def test_initializer_range(make_pair: MakePair, tmp_path: Path) -> None:
    """The decoder's own deviation is taken."""
    ckptconv.join(*two(make_pair(dec={"initializer_range": 0.5}), tmp_path), tmp_path / "out")
    assert sha256((weights(tmp_path / "out")[NAME]).tobytes()).hexdigest() != DIGEST
    assert 0.35 < weights(tmp_path / "out")[NAME].std() < 0.65
    pair = make_pair(dec={"initializer_range": "wide"})
    with pytest.raises(SourceError, match="'initializer_range' must be a number"):
        ckptconv.join(*two(pair, tmp_path / "other"), tmp_path / "none")


@pytest.mark.parametrize(
    ("first", "second"), [("bert", "bert"), ("bert", "gpt2"), ("gpt2", "roberta")]
)
def test_swapped_parts(make_pair: MakePair, tmp_path: Path, first: str, second: str) -> None:
    """A decoder of a pair as the encoder, with a model that reads none as the decoder, is refused with the right order.

    Whatever could be meant is taken: the decoder on both sides, the encoder on both, and this order once the config
    says that the model is no decoder.
    """
    ckptconv.split(make_pair(first, second).write(tmp_path / "source"), tmp_path / "parts")
    (tmp_path / "parts").rename(tmp_path / "moved")
    encoder, decoder = (tmp_path / "moved" / side for side in ("encoder", "decoder"))
    with pytest.raises(SourceError) as refusal:
        ckptconv.join(decoder, encoder, tmp_path / "out")
    assert f"`ckptconv join {encoder} {decoder} {tmp_path / 'out'}`" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    ckptconv.join(encoder, decoder, tmp_path / "right")
    ckptconv.join(encoder, encoder, tmp_path / "encoders")
    ckptconv.join(decoder, decoder, tmp_path / "decoders")
    config = config_of(decoder) | {"is_decoder": False, "add_cross_attention": False}
    (decoder / "config.json").write_text(json.dumps(config))
    assert ckptconv.join(decoder, encoder, tmp_path / "meant").notices


def test_no_order_is_advised_that_cannot_be(pair: Pair, dates: Path, tmp_path: Path) -> None:
    """What can be no part, such as a whole, is refused as such, and nothing untrue is said of its cross-attention.

    Where the order that was given can never be, no setting is said to allow it.
    """
    ckptconv.split(original(pair, tmp_path / "source"), tmp_path / "parts")
    (tmp_path / "parts").rename(tmp_path / "moved")
    encoder, decoder, strange = (
        tmp_path / "moved" / side for side in ("encoder", "decoder", "strange")
    )
    copytree(decoder, strange)
    (strange / "config.json").write_text(
        json.dumps(config_of(decoder) | {"model_type": "nonesuch"})
    )
    for second, words in ((dates, "already an encoder-decoder"), (strange, "no table for")):
        with pytest.raises(SourceError, match=words) as refusal:
            ckptconv.join(decoder, second, tmp_path / "out")
        assert "other order" not in str(refusal.value)
    images = tmp_path / "images"
    ckptconv.split(dates.parent / "digits", images)
    with pytest.raises(SourceError, match="In the other order") as refusal:
        ckptconv.join(decoder, images / "encoder", tmp_path / "out")
    assert "is meant" not in str(refusal.value)
    with pytest.raises(SourceError, match="is meant"):
        ckptconv.join(decoder, encoder, tmp_path / "out")


@pytest.mark.parametrize("model_type", [None, 5, [], ["bert"], {}])
def test_a_model_type_that_is_no_text(pair: Pair, tmp_path: Path, model_type: object) -> None:
    """Of a part it is refused, in either order; of what lies beside the parts it says that this is not their whole."""
    ckptconv.split(original(pair, tmp_path / "source"), tmp_path / "parts")
    encoder, decoder, odd = (tmp_path / "parts" / side for side in ("encoder", "decoder", "odd"))
    config = config_of(tmp_path / "parts") | {"model_type": model_type}
    (tmp_path / "parts" / "config.json").write_text(json.dumps(config))
    notices = ckptconv.join(encoder, decoder, tmp_path / "joined").notices
    assert not any("the whole: taken from" in notice for notice in notices)
    copytree(decoder, odd)
    (odd / "config.json").write_text(json.dumps(config_of(odd) | {"model_type": model_type}))
    for parts in ((encoder, odd), (odd, encoder)):
        with pytest.raises(SourceError, match="model_type"):
            ckptconv.join(*parts, tmp_path / "out")


def test_a_decoder_becomes_an_encoder(pair: Pair, tmp_path: Path) -> None:
    """Its config says so then, as transformers writes it: else a causal mask stays, and layers that no file has."""
    ckptconv.split(original(pair, tmp_path / "source"), tmp_path / "parts")
    decoder = tmp_path / "parts" / "decoder"
    result = ckptconv.join(decoder, decoder, tmp_path / "out")
    encoder = config_of(tmp_path / "out")["encoder"]
    assert (encoder["is_decoder"], encoder["add_cross_attention"]) == (False, False)
    assert config_of(decoder)["is_decoder"] is True
    assert [notice for notice in result.notices if "is_decoder" in notice] == [
        "encoder: is_decoder and add_cross_attention set to false, as `from_encoder_decoder_pretrained` does"
    ]
