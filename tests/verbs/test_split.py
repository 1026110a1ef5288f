"""`split`: each part holds its own tensors and a config of its own; nothing of the whole is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import PlanError, SourceError, WriteOptions

if TYPE_CHECKING:
    from conftest import MakePair, Pair


def config_of(folder: Path) -> dict[str, Any]:
    """Return a directory's config."""
    return dict(json.loads((folder / "config.json").read_text()))


def values_of(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return dtype, shape and bytes of every tensor, read by the reference library."""
    result: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        result |= load_file(file)
    return {
        name: (str(array.dtype), array.shape, array.tobytes()) for name, array in result.items()
    }


def below(pair: Pair, prefix: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return what a part should hold."""
    return {
        name.removeprefix(prefix): (str(array.dtype), array.shape, array.tobytes())
        for name, array in pair.arrays.items()
        if name.startswith(prefix)
    }


def test_parts_are_the_whole(pair: Pair, tmp_path: Path) -> None:
    """Every tensor is in one part, under its name without the prefix, bit for bit."""
    result = ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "out")
    values = {part.name: values_of(tmp_path / "out" / part.name) for part in result.parts}
    assert values == {"encoder": below(pair, "encoder."), "decoder": below(pair, "decoder.")}
    assert sum(map(len, values.values())) == len(pair.arrays)
    assert (result.pair, result.notices) == ("bert -> bert", ())


def test_configs_of_the_parts(pair: Pair, tmp_path: Path) -> None:
    """A part's config is its side's, with its class, and what the whole says of dtype and version."""
    source = pair.write(tmp_path / "source")
    ckptconv.split(source, tmp_path / "out")
    shared = {"dtype": "float32", "transformers_version": "4.57.6"}
    for side, name in (("encoder", "BertModel"), ("decoder", "BertLMHeadModel")):
        expected = {**shared, **pair.config[side], "architectures": [name]}
        assert config_of(tmp_path / "out" / side) == expected
    assert config_of(tmp_path / "out") == {**pair.config, "architectures": ["EncoderDecoderModel"]}


def test_a_bridge_is_a_part_of_its_own(make_pair: MakePair, tmp_path: Path) -> None:
    """Where the widths differ, the projection lies apart, and the user is told that it would be lost."""
    pair = make_pair(dec={"hidden_size": 5})
    assert pair.arrays["enc_to_dec_proj.weight"].shape == (5, 7)
    result = ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "out")
    assert [part.name for part in result.parts] == ["encoder", "decoder", "bridge"]
    assert values_of(tmp_path / "out" / "bridge") == below(pair, "enc_to_dec_proj.")
    assert {path.name for path in (tmp_path / "out" / "bridge").iterdir()} == {
        "config.json",
        "model.safetensors",
        "ckptconv.json",
        "SHA256SUMS",
    }
    assert config_of(tmp_path / "out" / "bridge") == {
        "model_type": "ckptconv-bridge",
        "encoder_hidden_size": 7,
        "decoder_hidden_size": 5,
    }
    assert [notice.split(":")[0] for notice in result.notices] == ["bridge"]


def test_no_bridge_between_equal_widths(make_pair: MakePair, tmp_path: Path) -> None:
    """Sides of one width need no projection; a width for cross-attention that is not the encoder's is refused."""
    pair = make_pair(decoder="gpt2")
    result = ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "out")
    assert [part.name for part in result.parts] == ["encoder", "decoder"]
    pair.config["decoder"]["cross_attention_hidden_size"] = 5
    with pytest.raises(
        SourceError, match="'cross_attention_hidden_size' is 5, but the encoder's hidden size is 7"
    ):
        ckptconv.split(pair.write(tmp_path / "other"), tmp_path / "none")


@pytest.mark.parametrize("equal", [True, False])
def test_tied_embeddings_that_are_stored_twice(pair: Pair, tmp_path: Path, equal: bool) -> None:
    """Equal, they are written once; unequal, the checkpoint contradicts its config and is refused."""
    words, output = (
        "decoder.bert.embeddings.word_embeddings.weight",
        "decoder.cls.predictions.decoder.weight",
    )
    pair.arrays[output] = pair.arrays[words] + (0 if equal else 1)
    source = pair.write(tmp_path / "source")
    if equal:
        ckptconv.split(source, tmp_path / "out")
        assert output.removeprefix("decoder.") not in values_of(tmp_path / "out" / "decoder")
        return
    with pytest.raises(PlanError) as refusal:
        ckptconv.split(source, tmp_path / "out")
    assert str(refusal.value) == (
        f"{source}/model.safetensors: 1 problem\n"
        f"  not equal   {output}: 203 of 203 elements differ, by at most 1, from {words};"
        " the config ties them, so the model has only one of them"
    )
    assert list(tmp_path.iterdir()) == [source]


def test_shards_and_cast(pair: Pair, tmp_path: Path) -> None:
    """The options reach every part: shards with an index, another dtype, and the configs name it."""
    options = WriteOptions(dtype="float16", max_shard_bytes=1000)
    ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "out", options)
    for side in ("encoder", "decoder"):
        folder = tmp_path / "out" / side
        assert len(list(folder.glob("*.safetensors"))) > 2
        halved = {
            name: ("float16", array.shape, array.astype("float16").tobytes())
            for name, array in pair.arrays.items()
            if name.startswith(f"{side}.")
        }
        assert values_of(folder) == {
            name.removeprefix(f"{side}."): value for name, value in halved.items()
        }
        assert config_of(folder)["dtype"] == config_of(tmp_path / "out")["dtype"] == "float16"


def test_progress(pair: Pair, tmp_path: Path) -> None:
    """The calls end with all bytes done, each counted when it is written and when it is read back."""
    steps: list[tuple[int, int]] = []
    options = WriteOptions(progress=lambda done, total: steps.append((done, total)))
    ckptconv.split(pair.write(tmp_path / "source"), tmp_path / "out", options)
    total = 8 * sum(array.size for array in pair.arrays.values())
    assert max(steps) == (total, total)
