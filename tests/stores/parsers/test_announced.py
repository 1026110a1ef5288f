"""Digests that the hub announces, and links: bytes are held against the name of what a link leads to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.base.files import following_links

if TYPE_CHECKING:
    from conftest import Cli, Pair


def cached(source: Path, cache: Path, *, small_by_git: bool = True) -> Path:
    """Lay a checkpoint out as the hub's cache does; return the snapshot."""
    blobs, snapshot = (
        cache / "models--org--x" / "blobs",
        cache / "models--org--x" / "snapshots" / "1",
    )
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in source.iterdir():
        data = file.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        if small_by_git and file.suffix == ".json":
            name = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        (blobs / name).write_bytes(data)
        (snapshot / file.name).symlink_to(os.path.relpath(blobs / name, snapshot))
    return snapshot


@pytest.fixture
def source(pair: Pair, tmp_path: Path) -> Path:
    """Return a checkpoint."""
    pair.files["tokenizer.json"] = "{}"
    return pair.write(tmp_path / "source")


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_bytes_that_are_not_those_announced(source: Path, tmp_path: Path, name: str) -> None:
    """A flipped bit in the cache is found before anything is published, in weights, config and companions."""
    snapshot = cached(source, tmp_path / "cache")
    ckptconv.normalize(snapshot, tmp_path / "sound")
    assert ckptconv.verify(snapshot, tmp_path / "sound", "weights").matches
    flip(Path(os.path.realpath(snapshot / name)))
    with pytest.raises(SourceError, match=r"the hub announced|not valid JSON"):
        ckptconv.normalize(snapshot, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    if name == "model.safetensors":
        for reads in (
            lambda: ckptconv.verify(snapshot, tmp_path / "sound", "weights"),
            lambda: ckptconv.verify(tmp_path / "sound", snapshot, "weights"),
            lambda: ckptconv.diff(snapshot, tmp_path / "sound"),
            lambda: ckptconv.inspect(snapshot, stats=True),
        ):
            with pytest.raises(SourceError, match="the hub announced"):
                reads()


def test_links_into_a_cache(source: Path, tmp_path: Path) -> None:
    """A folder of links into the cache is read, and checked; a blob without a digest for a name is not."""
    snapshot = cached(source, tmp_path / "cache")
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in snapshot.iterdir():
        (linked / file.name).symlink_to(os.path.realpath(file))
    assert ckptconv.diff(source, linked).matches
    flip(Path(os.path.realpath(linked / "model.safetensors")))
    with pytest.raises(SourceError, match="the hub announced"):
        ckptconv.normalize(linked, tmp_path / "out")
    odd = Path(os.path.realpath(linked / "config.json"))
    odd = odd.rename(odd.with_name("config"))
    (linked / "config.json").unlink()
    (linked / "config.json").symlink_to(odd)
    with pytest.raises(SourceError, match="a link that leads out of the checkpoint"):
        ckptconv.inspect(linked)


def test_links_are_followed_where_it_is_asked_for(source: Path, tmp_path: Path, cli: Cli) -> None:
    """`--follow-links` reads what links lead to, in every thread, and what lies elsewhere travels."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in source.iterdir():
        (linked / file.name).symlink_to(file)
    refused = cli("normalize", linked, tmp_path / "a")
    assert refused.code == 3
    assert "or run `ckptconv --follow-links ...`" in " ".join(refused.err.split())
    assert cli("--follow-links", "normalize", linked, tmp_path / "a").code == 0
    assert ckptconv.diff(source, tmp_path / "a").matches
    assert (tmp_path / "a" / "tokenizer.json").is_file()
    assert not (tmp_path / "a" / "tokenizer.json").is_symlink()
    with following_links():
        assert ckptconv.diff(source, linked).matches
    with pytest.raises(SourceError, match="leads out of the checkpoint"):
        ckptconv.inspect(linked)
