"""`inspect`: what a checkpoint is, from its headers; what no table knows is shown as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv import Problem, SourceError, WriteOptions
from ckptconv.verbs.inspect import SideSummary, Target, Tie

if TYPE_CHECKING:
    from conftest import MakePair, Pair


DRY = WriteOptions(dry_run=True)


def shifted(header: str, start: int, size: int) -> str:
    """Return a header in which the empty tensor at `start` has `size` bytes, and what follows moves on."""
    entries = json.loads(header)
    for name, entry in entries.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            empty = begin == end
            later = begin > start or (begin == start and not empty)
            entry["data_offsets"] = [begin + size * later, end + size * (later or empty)]
    return json.dumps(entries, separators=(",", ":"))


def test_parts_add_up(make_pair: MakePair, tmp_path: Path) -> None:
    """Every tensor is in one part; the parts come in the order of the data flow."""
    pair = make_pair(dec={"hidden_size": 5})
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert [part.name for part in inspection.parts] == [
        "encoder",
        "bridge",
        "decoder",
        "cross-attention",
        "head",
    ]
    counts = [
        sum(values)
        for values in zip(
            *((p.tensors, p.parameters, p.nbytes) for p in inspection.parts), strict=True
        )
    ]
    size = sum(array.size for array in pair.arrays.values())
    assert (
        counts
        == [len(pair.arrays), size, 4 * size]
        == [len(inspection.tensors), inspection.parameters, inspection.nbytes]
    )
    assert [(line.spec.name, line.spec.shape) for line in inspection.tensors] == sorted(
        (name, array.shape) for name, array in pair.arrays.items()
    )
    assert next(part for part in inspection.parts if part.name == "bridge").parameters == 5 * 7 + 5


@pytest.mark.parametrize("target", ["pt2tf", "pt2flax"])
def test_converted_checkpoints_are_complete(
    make_pair: MakePair, tmp_path: Path, target: str
) -> None:
    """What was written has no problem, healed or not, and as many tensors in each part as the source."""
    pair = make_pair("roberta", "gpt2")
    source = ckptconv.inspect(pair.write(tmp_path / "source"))
    getattr(ckptconv, target)(tmp_path / "source", tmp_path / "out")
    inspection = ckptconv.inspect(tmp_path / "out")
    assert (inspection.problems, inspection.refusal, inspection.pair) == ((), "", "roberta -> gpt2")
    assert [(part.name, part.tensors) for part in inspection.parts] == [
        (p.name, p.tensors) for p in source.parts
    ]


def test_problems_are_part_of_the_result(pair: Pair, tmp_path: Path) -> None:
    """What a conversion would refuse is listed; the rest is shown all the same."""
    pair.arrays["stray"] = np.zeros((2, 3), np.float16)
    bias = pair.arrays.pop("decoder.cls.predictions.bias")
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert inspection.problems == (
        Problem("missing", "decoder.cls.predictions.bias", f"expected {list(bias.shape)}"),
        Problem("unexpected", "stray", "float16 [2, 3]"),
    )
    assert [(part.name, part.tensors) for part in inspection.parts][-1] == ("unknown", 1)
    assert inspection.dtypes == ("float16", "float32")


def test_other_models_are_shown_too(pair: Pair, tmp_path: Path) -> None:
    """A model that is no encoder-decoder has no pair and no parts, but tensors, and the reason is given."""
    pair.config = {"model_type": "fsmt"}
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert (inspection.pair, inspection.model_type, inspection.saved_by, inspection.problems) == (
        "",
        "fsmt",
        "",
        (),
    )
    assert [part.name for part in inspection.parts] == ["unknown"]
    assert len(inspection.tensors) == len(pair.arrays)
    assert inspection.refusal.startswith(
        f"{tmp_path}/source/config.json: model type 'fsmt' is no encoder-decoder"
    )


def test_ties(make_pair: MakePair, tmp_path: Path) -> None:
    """Tied tensors are listed with what they repeat, and whether the file holds them twice."""
    pair = make_pair()
    words, output = (
        "decoder.bert.embeddings.word_embeddings.weight",
        "decoder.cls.predictions.decoder.weight",
    )
    pair.arrays[output] = pair.arrays[words]
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert inspection.ties == (
        Tie(output, words, stored=True),
        Tie("decoder.cls.predictions.decoder.bias", "decoder.cls.predictions.bias", stored=False),
    )
    untied = make_pair(dec={"tie_word_embeddings": False}).write(tmp_path / "untied")
    assert [tie.name for tie in ckptconv.inspect(untied).ties] == [
        "decoder.cls.predictions.decoder.bias"
    ]


def test_only_headers_are_read(pair: Pair, tmp_path: Path) -> None:
    """Not one value: a file whose data is a hole of 300 GB is inspected at once."""
    pair.config["encoder"]["vocab_size"] = 10_000_000_019
    pair.arrays["encoder.embeddings.word_embeddings.weight"] = np.zeros((0, 7), np.float32)
    path = pair.write(tmp_path / "source") / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    size = 10_000_000_019 * 28
    old, header = '"shape":[0,7],"data_offsets":', raw[8 : 8 + length].decode()
    start = int(header.split(old)[1].split("[")[1].split(",")[0])
    assert header.count(old) == 1
    new = shifted(header, start, size).replace('"shape":[0,7]', '"shape":[10000000019,7]').encode()
    with path.open("wb") as file:
        file.write(len(new).to_bytes(8, "little") + new)
        file.truncate(8 + len(new) + len(raw) - 8 - length + size)
    inspection = ckptconv.inspect(tmp_path / "source")
    assert (inspection.problems, inspection.nbytes) == (
        (),
        size + sum(array.nbytes for array in pair.arrays.values()),
    )


@pytest.mark.parametrize(("target", "verb"), [("pt2tf", "tf2pt"), ("pt2flax", "flax2pt")])
def test_what_would_convert(make_pair: MakePair, tmp_path: Path, target: str, verb: str) -> None:
    """Each verb that reads these weights says yes with its notices, or no with its own reason; the others are left."""
    source = make_pair("roberta", "bert").write(tmp_path / "source")
    targets = {target.verb: target for target in ckptconv.inspect(source).targets}
    assert {name: one.converts for name, one in targets.items()} == {
        "split": True,
        "normalize": True,
        "pt2tf": True,
        "pt2flax": True,
    }
    assert (
        targets["pt2flax"].notices
        == ckptconv.pt2flax(source, tmp_path / "dry", options=DRY).notices
    )
    getattr(ckptconv, target)(source, tmp_path / "out")
    assert [
        (target.verb, target.converts) for target in ckptconv.inspect(tmp_path / "out").targets
    ] == [(verb, True)]


def test_what_would_not_convert(make_pair: MakePair, tmp_path: Path) -> None:
    """The reason is the one that the verb itself gives."""
    source = make_pair(enc={"hidden_act": "mish"}).write(tmp_path / "source")
    targets = {target.verb: target.refusal for target in ckptconv.inspect(source).targets}
    with pytest.raises(SourceError) as refused:
        ckptconv.pt2flax(source, tmp_path / "out")
    assert targets == {"split": "", "normalize": "", "pt2tf": "", "pt2flax": str(refused.value)}


def test_what_would_convert_if(make_pair: MakePair, tmp_path: Path) -> None:
    """What a verb compares before it writes is a condition, since headers cannot tell."""
    pair = make_pair(dec={"tie_word_embeddings": False})
    result = {
        target.verb: target.conditions
        for target in ckptconv.inspect(pair.write(tmp_path / "source")).targets
    }
    words, output = (
        "decoder.bert.embeddings.word_embeddings.weight",
        "decoder.cls.predictions.decoder.weight",
    )
    why = "tf classes have no head of their own: they reuse the embeddings"
    assert result == {
        "split": (),
        "normalize": (),
        "pt2flax": (),
        "pt2tf": (f"{output} must equal {words}: {why}",),
    }


def test_missing_tensors_stop_every_verb(pair: Pair, tmp_path: Path) -> None:
    """Where tensors are missing, no verb would take it."""
    del pair.arrays["decoder.cls.predictions.bias"]
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    refusal = "1 problem with its tensors"
    assert inspection.targets == tuple(
        Target(verb, refusal) for verb in ("split", "normalize", "pt2tf", "pt2flax")
    )


def test_sides_are_what_the_configs_say(make_pair: MakePair, tmp_path: Path) -> None:
    """Sizes are read with each family's own names and defaults; what no config says is None."""
    source = make_pair("bert", "gpt2").write(tmp_path / "source")
    assert ckptconv.inspect(source).sides == (
        SideSummary("encoder", "bert", 2, 7, 12, 23),
        SideSummary("decoder", "gpt2", 1, 7, 12, 31),
    )
    second = make_pair()
    second.config = {"model_type": "fsmt", "vocab_size": 9}
    assert ckptconv.inspect(second.write(tmp_path / "fsmt")).sides == (
        SideSummary("model", "fsmt", None, None, None, 9),
    )
    second.config = {"model_type": "t5", "vocab_size": 9}
    assert ckptconv.inspect(second.write(tmp_path / "t5")).sides == (
        SideSummary("model", "t5", 6, 512, 8, 9),
    )


def test_code_hooks_are_named(pair: Pair, tmp_path: Path) -> None:
    """Keys that make transformers run code are found at any depth, and so are the files that hold it."""
    pair.config["auto_map"] = {"AutoModel": "mine.Model"}
    pair.config["decoder"]["task"] = [{"custom_pipelines": {}}]
    pair.files["mine.py"] = "raise SystemExit"
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert inspection.code_hooks == (
        "config.json: auto_map",
        "config.json: decoder.task[0].custom_pipelines",
        "mine.py",
    )


def test_layers_and_files(pair: Pair, tmp_path: Path) -> None:
    """Every tensor knows its layer and its file, in every naming and with shards."""
    source = pair.write(tmp_path / "source")
    ckptconv.pt2tf(source, tmp_path / "tf", options=WriteOptions(max_shard_bytes=4000))
    for folder, name in (
        (source, "encoder.encoder.layer.1.output.dense.bias"),
        (tmp_path / "tf", "encoder/bert/encoder/layer_._1/output/dense/bias:0"),
    ):
        inspection = ckptconv.inspect(folder)
        assert {line.file for line in inspection.tensors} == set(inspection.files)
        assert [
            (line.part, line.layer) for line in inspection.tensors if line.spec.name == name
        ] == [("encoder", 1)]
        assert {line.layer for line in inspection.tensors} == {None, 0, 1}
        assert inspection.file_bytes == sum(
            (folder / file).stat().st_size for file in inspection.files
        )


@pytest.mark.parametrize("value", [[], {}, [1], 1, None, True])
def test_a_model_type_that_is_no_word(pair: Pair, tmp_path: Path, value: object) -> None:
    """Whatever JSON stands there, it is no table's model type, and the rest is shown."""
    pair.config["model_type"] = value
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    what = "no 'model_type'," if value is None else f"model type {json.dumps(value)} is no"
    text = f"{tmp_path}/source/config.json: {what}"
    assert (inspection.refusal.startswith(text), inspection.targets, len(inspection.tensors)) == (
        True,
        (),
        len(pair.arrays),
    )
