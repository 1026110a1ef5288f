"""`manifest`: what `ckptconv.json` says of an output and its origin, the same in every place and at every time."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from safetensors.numpy import load_file

import ckptconv
from ckptconv import JoinOptions, SourceError, WriteOptions
from ckptconv.transfer.manifest import MANIFEST, SUMS, read_manifest
from ckptconv.version import __version__

if TYPE_CHECKING:
    from conftest import MakePair, Pair

FILES = {"generation_config.json": '{"max_length": 9}\n', "vocab.txt": "a\nb\n"}


def manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a directory says."""
    return dict(json.loads((folder / MANIFEST).read_text()))


def digests(folder: Path, *names: str) -> dict[str, Any]:
    """Return size and sha256 of files, as a manifest has them."""
    contents = {name: (folder / name).read_bytes() for name in names}
    return {
        name: {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in contents.items()
    }


def test_a_manifest_whole(pair: Pair, tmp_path: Path) -> None:
    """Every key: version, command, options, tables, sources, files, tensors, and its own digest."""
    pair.files = dict(FILES)
    ckptconv.normalize(pair.write(tmp_path / "a"), tmp_path / "b", WriteOptions(dtype="float16"))
    names = ("config.json", "generation_config.json", "model.safetensors", "vocab.txt")
    document = manifest(tmp_path / "b")
    tensors = document["files"]["model.safetensors"].pop("tensors")
    assert {"sha256": document.pop("sha256"), "tables": document.pop("tables")}.keys() == {
        "sha256",
        "tables",
    }
    assert document == {
        "manifest": 2,
        "ckptconv": __version__,
        "command": "normalize",
        "options": {
            "dtype": "float16",
            "max_shard_bytes": None,
            "allow_overflow": False,
            "format": "safetensors",
        },
        "pair": "bert -> bert",
        "dialect": "pytorch",
        "format": "safetensors",
        "healed": [],
        "sources": {"source": digests(tmp_path / "a", *names)},
        "files": digests(tmp_path / "b", *names),
    }
    arrays = load_file(tmp_path / "b" / "model.safetensors")
    assert {name: (one["dtype"], one["shape"], one["blake3"]) for name, one in tensors.items()} == {
        name: ("float16", list(array.shape), blake3(array.tobytes()).hexdigest())
        for name, array in arrays.items()
    }
    data = (tmp_path / "b" / "model.safetensors").read_bytes()
    for name, one in tensors.items():
        assert (
            b"".join(data[start : start + size] for start, size in one["extents"])
            == arrays[name].tobytes()
        )
    assert (tmp_path / "b" / SUMS).read_text() == "".join(
        f"{sha256((tmp_path / 'b' / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted((MANIFEST, *names))
    )


def test_it_is_read_as_it_was_written(make_pair: MakePair, tmp_path: Path) -> None:
    """Reading and writing again gives the same bytes; its digest is that of its content."""
    ckptconv.pt2flax(make_pair("roberta", "roberta").write(tmp_path / "a"), tmp_path / "b")
    result, declared, raw = read_manifest(tmp_path / "b")
    assert (result.dump(), result.digest) == (raw, declared)
    assert (tmp_path / "b" / SUMS).read_bytes() == result.sums(sha256(raw).hexdigest())
    assert [record["tensor"] for record in result.origin.healed] == [
        f"{side}.embeddings.{kind}_embeddings.weight"
        for side, kind in (
            ("encoder", "position"),
            ("encoder", "token_type"),
            ("decoder.roberta", "position"),
        )
    ]
    assert result.origin.options == {
        "dtype": "keep",
        "max_shard_bytes": None,
        "allow_overflow": False,
        "format": "msgpack",
        "heal": True,
    }
    values = json.loads(raw)
    del values["sha256"]
    assert (
        sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        == declared
    )


@pytest.mark.parametrize("shards", [None, 900])
def test_nothing_of_time_and_place(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int | None
) -> None:
    """Another directory, another day, another user: the same bytes, and no path in them."""
    pair.files = dict(FILES)
    options = WriteOptions(max_shard_bytes=shards)
    ckptconv.split(pair.write(tmp_path / "one" / "deep"), tmp_path / "x", options)
    pair.write(tmp_path / "two")
    for path in (tmp_path / "two").iterdir():
        os.utime(path, (1, 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    ckptconv.split(Path("two"), Path("y"), options)
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in "xy"
    )
    assert first == second
    assert not any(str(tmp_path).encode() in data for data in first.values())
    assert len([path for path in first if path.name == MANIFEST]) == 3


def test_an_old_manifest_does_not_travel(pair: Pair, tmp_path: Path) -> None:
    """Converted again, or written over, an output has the one new manifest; `inspect` does not mind it."""
    ckptconv.pt2tf(pair.write(tmp_path / "a"), tmp_path / "b")
    ckptconv.tf2pt(tmp_path / "b", tmp_path / "c")
    assert (manifest(tmp_path / "b")["command"], manifest(tmp_path / "c")["command"]) == (
        "pt2tf",
        "tf2pt",
    )
    assert manifest(tmp_path / "c")["sources"] == {
        "source": digests(tmp_path / "b", "config.json", "tf_model.h5")
    }
    ckptconv.pt2flax(tmp_path / "a", tmp_path / "b", options=WriteOptions(overwrite=True))
    assert manifest(tmp_path / "b")["command"] == "pt2flax"
    assert (ckptconv.check(tmp_path / "b").whole, ckptconv.check(tmp_path / "c").whole) == (
        True,
        True,
    )
    assert ckptconv.inspect(tmp_path / "b").problems == ()


def test_sources_of_a_join(make_pair: MakePair, tmp_path: Path) -> None:
    """Every directory that it read has a role of its own; shards have their index."""
    pair = make_pair(dec={"hidden_size": 5})
    pair.files = dict(FILES)
    ckptconv.split(pair.write(tmp_path / "a"), tmp_path / "p", WriteOptions(max_shard_bytes=3000))
    encoder, decoder = tmp_path / "p" / "encoder", tmp_path / "p" / "decoder"
    ckptconv.join(encoder, decoder, tmp_path / "b", JoinOptions(seed=3))
    document = manifest(tmp_path / "b")
    index = "model.safetensors.index.json"
    shards = {
        item: sorted(path.name for path in item.glob("*.safetensors"))
        for item in (encoder, decoder)
    }
    assert min(map(len, shards.values())) > 1
    assert document["sources"] == {
        "encoder": digests(encoder, "config.json", index, *shards[encoder]),
        "decoder": digests(decoder, "config.json", index, *shards[decoder]),
        "bridge": digests(tmp_path / "p" / "bridge", "config.json", "model.safetensors"),
        "whole": digests(tmp_path / "p", "config.json", *FILES),
    }
    assert document["options"] == {
        "dtype": "keep",
        "max_shard_bytes": None,
        "allow_overflow": False,
        "seed": 3,
        "cross_attention": "random",
        "tie": False,
    }


def test_tables_are_those_of_the_model(make_pair: MakePair, tmp_path: Path) -> None:
    """Another size or another naming is another digest; other weights and another format are not."""
    said = []
    for number, (enc, verb) in enumerate(
        [
            ({}, ckptconv.pt2tf),
            ({}, lambda one, two: ckptconv.pt2tf(one, two, "safetensors")),
            ({}, ckptconv.pt2flax),
            ({"num_hidden_layers": 1}, ckptconv.pt2tf),
        ]
    ):
        pair = make_pair(enc=enc)
        pair.arrays["decoder.cls.predictions.bias"] += number
        verb(pair.write(tmp_path / f"a{number}"), tmp_path / f"b{number}")
        said.append(manifest(tmp_path / f"b{number}")["tables"])
    assert (said[0] == said[1], len({*said})) == (True, 3)


def test_a_directory_without_one(tmp_path: Path) -> None:
    """There is nothing to check against, and the message says so; nor is what lies behind a pipe or a link."""
    (tmp_path / "x").mkdir()
    with pytest.raises(
        SourceError, match=r"x: no ckptconv.json here, so there is nothing to check against"
    ):
        read_manifest(tmp_path / "x")
    (tmp_path / "x" / MANIFEST).write_text("{")
    with pytest.raises(SourceError, match="not valid JSON"):
        read_manifest(tmp_path / "x")


def test_a_manifest_may_be_longer_than_other_json(pair: Pair, tmp_path: Path) -> None:
    """What a conversion of many tensors writes is checked and replaced without an option; there is a bound still."""
    source, output = pair.write(tmp_path / "a"), tmp_path / "b"
    ckptconv.normalize(source, output)
    size = (output / MANIFEST).stat().st_size
    assert size // 2 > (source / "config.json").stat().st_size
    with ckptconv.limited(json_bytes=size // 2):
        assert ckptconv.check(output).whole
        ckptconv.normalize(source, output, WriteOptions(overwrite=True))
    with ckptconv.limited(json_bytes=size // 10), pytest.raises(SourceError, match="json_bytes"):
        ckptconv.check(output)
