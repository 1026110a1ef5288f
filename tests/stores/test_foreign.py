"""A directory without weights says what lies there and how to make weights of it; a wrong file says what it is."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.stores.foreign import foreign_weights

if TYPE_CHECKING:
    from conftest import Pair

FOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "shards": (
        ["model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors"],
        [
            "2 shards (model-00001-of-00004.safetensors ...)",
            "model.safetensors.index.json: fetch it",
        ],
    ),
    "bin shards": (
        ["pytorch_model-00001-of-00002.bin"],
        ["1 shards", "pytorch_model.bin.index.json"],
    ),
    "variant": (["model.fp16.safetensors"], ["the variant 'fp16': rename it to model.safetensors"]),
    "bin variant": (
        ["pytorch_model.bf16.bin"],
        ["the variant 'bf16': rename it to pytorch_model.bin"],
    ),
    "variant shards": (
        ["model.fp16-00001-of-00002.safetensors", "model.safetensors.index.fp16.json"],
        ["the variant 'fp16'", "model.safetensors.index.fp16.json"],
    ),
    "another name": (["best.pt"], ["best.pt may be PyTorch's weights", "pytorch_model.bin"]),
    "fsdp": (["pytorch_model_fsdp.bin"], ["rename it to pytorch_model.bin"]),
    "dcp": (
        ["pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata"],
        ["dcp_to_torch"],
    ),
    "deepspeed": (
        ["latest", "zero_to_fp32.py", "global_step5/mp_rank_00_model_states.pt"],
        ["DeepSpeed", "zero_to_fp32.py . OUT"],
    ),
    "lightning": (["epoch=3-step=500.ckpt"], ["Lightning", "rename it to pytorch_model.bin"]),
    "tf": (
        ["model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001", "checkpoint"],
        ["a TF checkpoint"],
    ),
    "saved model": (["saved_model.pb", "variables/variables.index"], ["a TF SavedModel"]),
    "keras": (["model.weights.h5"], ["Keras's own format"]),
    "half": (["model.safetensors.incomplete"], ["a download that did not finish"]),
    "adapter": (
        ["adapter_model.safetensors", "adapter_config.json"],
        ["an adapter (PEFT)", "merge"],
    ),
    "flax": (["checkpoint_500"], ["Flax or Orbax"]),
    "orbax": (["5/_METADATA", "5/manifest.ocdbt"], ["Flax or Orbax"]),
    "gguf": (["model-q4.gguf"], ["does not read"]),
    "odd names": (["my.safetensors"], ["rename it to model.safetensors"]),
    "line breaks": (["a\n::error::b.safetensors"], ["a\\n::error::b.safetensors: rename"]),
}


@pytest.mark.parametrize(("names", "says"), FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("config", [True, False])
def test_what_lies_there(tmp_path: Path, names: list[str], says: list[str], config: bool) -> None:
    """Each thing is named in one line of its own, with the next step; with a config and without one."""
    (tmp_path / "training_args.bin").write_bytes(b"")
    if config:
        (tmp_path / "config.json").write_text("{}")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(SourceError) as refusal:
        ckptconv.inspect(tmp_path)
    first, *lines = str(refusal.value).splitlines()
    assert ("no weights here that ckptconv reads." if config else "no config.json here") in first
    assert len(lines) == 1
    assert [text for text in says if text not in lines[0]] == []


def test_nothing_to_tell() -> None:
    """A config, a tokenizer and a trainer's own files are no weights under another name."""
    names = ["config.json", "tokenizer.json", "vocab.txt", "training_args.bin", "optimizer.pt"]
    assert foreign_weights(names) == []


def test_weights_without_their_config(tmp_path: Path) -> None:
    """What is missing is named, and nobody is told to give a file the name that it has."""
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(SourceError) as refusal:
        ckptconv.inspect(tmp_path)
    assert str(refusal.value).splitlines()[1:] == [
        "model.safetensors is here: put the config.json of the same model beside it."
    ]


def tar() -> bytes:
    """Return an archive."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return raw.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"
WRONG = {
    "a Git LFS pointer": POINTER,
    "a page of HTML": b"\n<!DOCTYPE html><html>",
    "an empty file": b"",
    "a gzip archive": gzip.compress(b"x" * 99),
    "a tar file": tar(),
    "JSON": b'{"error": "not found"}',
    "a zip archive": b"PK\3\4" + bytes(60),
    "a GGUF file": b"GGUF\3\0\0\0" + bytes(60),
}
NAMES = ("model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_is_no_weights(tmp_path: Path, name: str, kind: str) -> None:
    """In every format the file is called what it is, and the next step is said."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(WRONG[kind])
    with pytest.raises(SourceError) as refusal:
        ckptconv.inspect(tmp_path)
    first, *advice = str(refusal.value).splitlines()
    if name == "pytorch_model.bin" and kind == "a zip archive":
        assert "zip" in first  # it may be a damaged file of PyTorch
        return
    assert first.startswith(f"{tmp_path / name}: expected ")
    assert first.endswith(f", found {kind}.")
    assert advice


@pytest.mark.thorough
def test_formats_under_each_others_names(pair: Pair, tmp_path: Path) -> None:
    """A safetensors file called .bin or .h5, and the other way round: what it is, and how to call it."""
    source = pair.write(tmp_path / "pt")
    ckptconv.pt2tf(source, tmp_path / "tf")
    files = {"safetensors": source / NAMES[0], "an HDF5 file": tmp_path / "tf" / NAMES[2]}
    for kind, file in files.items():
        for name in NAMES:
            if name == file.name:
                continue
            folder = tmp_path / f"{kind} {name}"
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            (folder / name).write_bytes(file.read_bytes())
            with pytest.raises(SourceError) as refusal:
                ckptconv.inspect(folder)
            assert f"found {kind}.\nIf it holds the weights, rename it to {file.name}." in str(
                refusal.value
            )


@pytest.mark.thorough
def test_other_weights_beside(pair: Pair, tmp_path: Path) -> None:
    """A second file of weights is named by every verb that reads the first."""
    source = pair.write(tmp_path / "a")
    ckptconv.pt2tf(source, tmp_path / "tf")
    (tmp_path / "tf" / "tf_model.h5").rename(source / "tf_model.h5")
    says = (
        "model.safetensors is read; other weights lie beside it, and nothing here says that they are"
        " the same: tf_model.h5 (tf)"
    )
    full = f"{source}: {says}"
    assert says in ckptconv.inspect(source).reading
    assert full in ckptconv.normalize(source, tmp_path / "b").notices
    assert full in ckptconv.split(source, tmp_path / "c").notices
    assert full in ckptconv.pt2tf(source, tmp_path / "d").notices
    assert full in ckptconv.diff(source, tmp_path / "b").notices
    assert full in ckptconv.verify(source, tmp_path / "b", "weights").weights.notices
    assert full in ckptconv.verify(tmp_path / "b", source, "weights").weights.notices
    joined = ckptconv.join(tmp_path / "c" / "encoder", tmp_path / "c" / "decoder", tmp_path / "e")
    assert not [notice for notice in joined.notices if "other weights" in notice]
