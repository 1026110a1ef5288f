"""A checkpoint is a directory: `config.json`, and weights in one format, one file or shards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import read_source
from ckptconv.base.strict_json import read_json
from ckptconv.base.unchanged import Snapshot
from ckptconv.schema.config import Config
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.companions import GENERATION, TOKENIZER
from ckptconv.stores.formats import Contents, Format, formats
from ckptconv.stores.shards import read_index
from ckptconv.stores.tensor import Stored

NAMING_OF_TAG: Mapping[str, NamingName] = {"pt": "pytorch", "tf": "tf", "flax": "flax"}
"""The safetensors metadata by which transformers tells whose names a file holds."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one checkpoint, wherever their bytes lie."""

    format: Format
    naming: NamingName
    files: tuple[Path, ...]
    tensors: Mapping[str, Stored]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint: its config, and where each tensor's bytes lie."""

    path: Path
    config: Config
    weights: Weights
    before: Snapshot
    """What its files were before the first of them was read."""

    def require_unchanged(self) -> None:
        """Look again at every file that a conversion reads. Raises SourceError: one is not what it was."""
        names = {"config.json", self.weights.format.index, GENERATION, *TOKENIZER}
        there = (path for path in self.before.files if path.name in names)
        self.before.require_unchanged([*there, *self.weights.files])


def open_checkpoint(path: Path, naming: NamingName | None = None) -> Checkpoint:
    """Read config and headers; no tensor is read.

    Args: naming: whose weights are wanted; None takes what transformers would take first.
    Raises: SourceError: no checkpoint, or one that is malformed or incomplete.
    """
    before = Snapshot.of(path)
    return Checkpoint(path, read_config(path), read_weights(path, naming), before)


def open_source(path: Path) -> Checkpoint:
    """Open what is to be compared with: PyTorch's weights where there are some, or those of another framework."""
    found = open_checkpoint(path)
    beside = any(
        (path / form.weights).exists() or (path / form.index).exists()
        for form in formats().values()
        if form.namings == ("pytorch",)
    )
    return (
        open_checkpoint(path, "pytorch") if beside and found.weights.naming != "pytorch" else found
    )


def read_config(path: Path) -> Config:
    """Return the config of a checkpoint directory. Raises SourceError: there is none, or it is malformed."""
    try:
        exists = path.exists()
    except OSError as error:  # such as a name that is too long
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    if not exists:
        raise SourceError(f"{path}: no such directory.{_near(path)}")
    if not path.is_dir():
        raise SourceError(
            f"{path}: a checkpoint is a directory; give the one that holds this file ({path.parent})."
        )
    if not os.path.lexists(path / "config.json"):
        raise SourceError(f"{path}: no config.json here, so this is no checkpoint.{_within(path)}")
    return Config(read_json(path / "config.json"), str(path / "config.json"))


def read_weights(path: Path, naming: NamingName | None = None) -> Weights:
    """Return the weights of a directory; see `open_checkpoint`."""
    found = list(_candidates(path))
    if not found:
        names = ", ".join(sorted({one.weights for one in formats().values()}))
        raise SourceError(
            f"{path}: no weights here; looked for {names} and their shards.{_within(path)}"
        )
    wanted = [one for one in found if naming in (None, one.naming)]
    if not wanted:
        there = ", ".join(f"{one.files[0].name} ({one.naming})" for one in found)
        advice = (
            f" `ckptconv {found[0].naming}2pt` makes PyTorch's of them."
            if naming == "pytorch"
            else ""
        )
        if naming != "pytorch" and any(one.naming == "pytorch" for one in found):
            advice = " It is PyTorch's already; `ckptconv normalize` writes it anew."
        raise SourceError(f"{path}: no {naming} weights here; there is {there}.{advice}")
    return _unwrapped(min(wanted, key=_preference))


def _unwrapped(weights: Weights) -> Weights:
    """Take the level off that DataParallel puts before every name of a model it wraps."""
    wrapper = "module."
    if weights.naming != "pytorch" or not all(name.startswith(wrapper) for name in weights.tensors):
        return weights
    return replace(
        weights, tensors={name.removeprefix(wrapper): one for name, one in weights.tensors.items()}
    )


def _preference(weights: Weights) -> tuple[bool, str]:
    """Order of the classes in transformers 4.57.6: safetensors first, but Flax takes msgpack first."""
    return (weights.format.name != "safetensors") != (weights.naming == "flax"), weights.format.name


def _candidates(path: Path) -> Iterator[Weights]:
    """Open every set of weights in a directory."""
    for form in formats().values():
        single, index = path / form.weights, path / form.index
        if os.path.lexists(
            single
        ):  # what is no file, or a link that leads nowhere, is refused when it is opened
            if _is(form, single):
                contents = form.read(single)
                yield Weights(form, _naming(form, contents), (single,), contents.tensors)
        elif os.path.lexists(index):
            yield from _sharded(form, index)


def _is(form: Format, path: Path) -> bool:
    """Tell formats apart that share a file name; a file of no known beginning goes to the first."""
    rivals = [other for other in formats().values() if other.weights == form.weights]
    if len(rivals) == 1:
        return True
    start = read_source(path, 16)
    chosen = [other for other in rivals if other.magic and start.startswith(other.magic)]
    return form is (chosen or rivals)[0]


def _naming(form: Format, contents: Contents) -> NamingName:
    """Return whose names a file holds: the format says, or safetensors' metadata; PyTorch's without any."""
    if len(form.namings) == 1:
        return form.namings[0]
    return NAMING_OF_TAG.get(contents.metadata.get("format", "pt"), "pytorch")


def _sharded(form: Format, index: Path) -> Iterator[Weights]:
    """Open the shards that an index names, and check the index against them."""
    listing = read_index(index)
    files = tuple(index.parent / name for name in listing.files)
    listing.require_files(form)
    if not _is(form, files[0]):
        return
    contents = {file.name: form.read(file) for file in files}
    naming = _naming(form, next(iter(contents.values())))
    listing.require_agreement(naming, contents)
    tensors = {name: stored for one in contents.values() for name, stored in one.tensors.items()}
    yield Weights(form, naming, files, tensors)


def _near(path: Path) -> str:
    """Name the directory that was probably meant."""
    from difflib import get_close_matches

    parent = path.parent
    names = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return f" Did you mean {parent / near[0]}?" if near else ""


def _within(path: Path) -> str:
    """Name the checkpoints one level down, where a directory holds some."""
    inside = sorted(entry.parent.name for entry in path.glob("*/config.json"))[:5]
    return f" There is one in: {', '.join(inside)}." if inside else ""
