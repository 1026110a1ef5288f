"""A checkpoint is a directory: `config.json`, and weights in some format and layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from ckptconv.base.errors import SourceError, one_line, system_reason
from ckptconv.base.files import Snapshot, require_announced
from ckptconv.base.presence import (
    did_you_mean,
    is_file,
    is_folder,
    is_link,
    lies_at,
    names_in,
)
from ckptconv.base.strict_json import Json, in_words, read_json
from ckptconv.base.weight_names import SUFFIXES
from ckptconv.schema.config import Config
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.companions import (
    as_today,
    companion_folders,
    companions,
    conditions,
    require_no_adapter,
    require_own_files,
    stored_dtype,
    unreadable_dtypes,
    unsaid_keys,
    with_readable_dtypes,
)
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.layouts import LAYOUTS, Weights, huggingface

MOST_NAMES = 1000
"""Of a folder below a checkpoint, looked at to say what it is."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint: its config, and where each tensor's bytes lie."""

    path: Path
    config: Config
    weights: Weights
    before: Snapshot
    """What its files were before the first of them was read."""
    companions: tuple[Path, ...] = ()
    """The files that travelled along when it was opened."""
    dtype_words: tuple[tuple[str, Json], ...] = ()
    """Key and value of the file's dtypes that no class reads; `config` has those of the tensors in their place."""
    unsaid: tuple[str, ...] = ()
    """Keys that the file lacks and the class needs; `config` says what the weights show."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know of how it was read: one sentence each."""
        notices = (*self.weights.notices, *self.config_notices)
        return tuple(f"{self.path}: {notice}" for notice in notices)

    @property
    def config_notices(self) -> tuple[str, ...]:
        """What was taken for the words in `dtype_words`, and for what is in `unsaid`."""
        dtype = stored_dtype(self.weights.tensors.values()) if self.dtype_words else ""
        words = (
            f"config.json: {key}: {in_words(value)} is no dtype that a class reads;"
            f" taken as {dtype}, which the tensors have"
            for key, value in self.dtype_words
        )
        unsaid = (
            f"config.json: no {key}, as in transformers before 3.1;"
            " taken as true, since the weights hold a cross-attention"
            for key in self.unsaid
        )
        return (*words, *unsaid)

    def require_loadable(self) -> None:
        """Refuse what its own class cannot load. Raises SourceError."""
        if self.unsaid:
            raise SourceError(
                f"{self.config.where}: no {' and no '.join(self.unsaid)}, as in transformers before 3.1: the class of"
                " 4.57.6 drops the cross-attention, and cannot run.\n"
                "A conversion, or `ckptconv normalize`, writes what is missing."
            )
        if self.dtype_words:
            keys = ", ".join(f"{key}: {in_words(value)}" for key, value in self.dtype_words)
            raise SourceError(
                f"{self.config.where}: {keys} is no dtype in which a class of transformers 4.57.6 makes weights.\n"
                "A conversion, or `ckptconv normalize`, writes the dtype that the tensors have."
            )

    def require_unchanged(self) -> None:
        """Look again at every file that a conversion reads.

        Raises: SourceError: one changed, went away, or appeared: the output would lack it, or be made of weights that
            transformers no longer takes first.
        """
        weights = self.weights
        config = [self.path / "config.json"] if self.path not in weights.files else []
        read = [*config, *weights.indexes, *weights.files]
        present = [path for path in companions(self.path) if lies_at(path)]
        travelled = [path for path in self.companions if path not in present]
        rivals = (self.path / name for name in huggingface.every_name())
        self.before.require_none_new([*present, *rivals])
        self.before.require_unchanged([*read, *present, *travelled])


def open_checkpoint(path: Path, naming: NamingName | None = None) -> Checkpoint:
    """Read config and headers; no tensor is read.

    Args: naming: whose weights are wanted; None takes what transformers would take first.
    Raises: SourceError: no checkpoint, one that is malformed or incomplete, or whose tensors are not its weights.
    """
    checkpoint = _opened(path, naming)
    for condition in conditions(checkpoint.config, checkpoint.weights.tensors):
        raise SourceError(f"{path}: {condition}")
    return checkpoint


def _opened(path: Path, naming: NamingName | None = None) -> Checkpoint:
    """Read config and headers, whatever the tensors are worth. Raises SourceError: as `open_checkpoint`."""
    below = {path / folder for layout in LAYOUTS.values() for folder in layout.folders}
    before = Snapshot.of(path, *sorted(below), *companion_folders(path))
    beside = companions(path)
    config = read_config(path)
    require_announced([path / "config.json"])
    require_own_files(config)
    weights = read_weights(path, naming)
    require_no_adapter(path)
    words = tuple(unreadable_dtypes(config.values))
    config = with_readable_dtypes(config, weights.tensors.values()) if words else config
    today = as_today(config, weights.naming, weights.tensors.keys())
    unsaid = tuple(unsaid_keys(config, today))
    return Checkpoint(path, today, weights, before, beside, words, unsaid)


def open_any(path: Path) -> Checkpoint:
    """Open a checkpoint, or a file of tensors by itself, which has no config: an adapter, a shard, a state_dict.

    Raises: SourceError: no checkpoint, no such file, or one that is malformed.
    """
    if not is_file(path):
        checkpoint = _opened(path)
        weights = checkpoint.weights
        notices = (*weights.notices, *conditions(checkpoint.config, weights.tensors))
        return replace(checkpoint, weights=replace(weights, notices=notices))
    before = Snapshot.of(path.parent)
    weights = huggingface.read_file(path)
    return Checkpoint(path, Config({}, str(path)), weights, before)


def open_preferring_pytorch(path: Path) -> Checkpoint:
    """Open PyTorch's weights where there are some, or those of another framework."""
    checkpoint = open_checkpoint(path)
    if checkpoint.weights.naming != "pytorch" and huggingface.present(path, "pytorch"):
        return open_checkpoint(path, "pytorch")
    return checkpoint


def read_config(path: Path) -> Config:
    """Return the config of a checkpoint directory. Raises SourceError: there is none, or it is malformed."""
    try:
        exists = path.exists()
    except OSError as error:  # such as a name that is too long
        raise SourceError(f"{path}: cannot be read ({system_reason(error)})") from None
    if not exists:
        from ckptconv.base.leftovers import replacement_of  # here, since few paths are absent

        raise SourceError(replacement_of(path) or absence(path))
    if not is_folder(path):
        raise SourceError(
            f"{path}: a checkpoint is a directory; give the one that holds this file ({path.parent})."
        )
    if not lies_at(path / "config.json"):
        raise SourceError(
            f"{path}: no config.json here, so this is no checkpoint.{_within(path)}{_beside_it(path)}"
        )
    return Config(read_json(path / "config.json"), str(path / "config.json"))


def _beside_it(path: Path) -> str:
    """Return what else lies in a directory without a config, and what to do, in lines of their own."""
    from ckptconv.stores.foreign import STEMS, foreign_weights  # here: its many patterns take long

    names = list(_names(path))
    weights = [stem for stem in STEMS if stem in names]
    if weights:
        return f"\n{weights[0]} is here: put the config.json of the same model beside it."
    return "".join(f"\n{line}" for line in foreign_weights(names))


def read_weights(path: Path, naming: NamingName | None = None) -> Weights:
    """Return the weights of a directory; see `open_checkpoint`."""
    candidates = [
        weights
        for layout in sorted(LAYOUTS.values(), key=attrgetter("rank"))
        if not layout.marks or any(is_file(path / name) for name in layout.marks)
        for weights in layout.read(path)
    ]
    if not candidates:
        raise SourceError(f"{path}: {_no_weights(path)}")
    suitable = [weights for weights in candidates if naming in (None, weights.naming)]
    if not suitable:
        present = ", ".join(f"{weights.files[0].name} ({weights.naming})" for weights in candidates)
        advice = ""
        if naming == "pytorch":
            advice = f" `ckptconv {candidates[0].naming}2pt` makes PyTorch's of them."
        elif any(weights.naming == "pytorch" for weights in candidates):
            advice = " It is PyTorch's already; `ckptconv normalize` writes it anew."
        raise SourceError(f"{path}: no {naming} weights here; there is {present}.{advice}")
    chosen = min(suitable, key=huggingface.preference)
    return replace(chosen, notices=(*chosen.notices, *_beside(chosen, candidates)))


def _beside(chosen: Weights, candidates: Sequence[Weights]) -> Iterator[str]:
    """Say which other weights lie in the directory: some class or version of transformers loads those."""
    rivals = [
        f"{weights.files[0].name} ({weights.naming})"
        for weights in candidates
        if weights.files != chosen.files
    ]
    if rivals:
        yield (
            f"{chosen.files[0].name} is read; other weights lie beside it, and nothing here says that"
            f" they are the same: {', '.join(rivals)}"
        )


def _no_weights(path: Path) -> str:
    """Say that there are no weights, and what there is in their place."""
    from ckptconv.stores.foreign import foreign_weights

    foreign = foreign_weights(list(_names(path)))
    if foreign:
        return "\n".join(["no weights here that ckptconv reads.", *foreign])
    names = ", ".join(sorted(set(map(huggingface.weights_name, FORMATS.values()))))
    return f"no weights here; looked for {names} and their shards.{_within(path)}"


def _names(path: Path) -> Iterator[str]:
    """Return the names of the files in a directory, and of those one level down but in other checkpoints."""
    for name in names_in(path):
        entry = path / name
        if is_folder(entry) and not is_link(entry):
            if not lies_at(entry / "config.json"):
                yield from (f"{name}/{below}" for below in names_in(entry)[:MOST_NAMES])
        else:
            yield name


def absence(path: Path) -> str:
    """Say that nothing lies at a path where a checkpoint is asked for, and what was meant or is to be given."""
    is_weights = path.suffix in SUFFIXES
    near = did_you_mean(path, lies_at if is_weights else is_folder)
    advice = " A checkpoint is a directory: give the one that holds config.json and the weights."
    return f"{path}: no such {'file' if is_weights else 'directory'}.{near or advice}"


def _within(path: Path) -> str:
    """Name the checkpoints one level down, where a directory holds some."""
    inside = [name for name in names_in(path) if lies_at(path / name / "config.json")][:5]
    return f" There is one in: {', '.join(map(one_line, inside))}." if inside else ""
