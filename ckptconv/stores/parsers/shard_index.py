"""The index of a sharded checkpoint: which file holds which tensor. Nothing in it is believed unseen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import PlanError, Problem, SourceError
from ckptconv.base.presence import is_file, names_in
from ckptconv.base.strict_json import Json, in_words, read_json
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import Contents
from ckptconv.stores.tensor import Stored

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""What a shard may be called: a plain file name, so that no index leads out of the checkpoint."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.", re.IGNORECASE)
"""Names that are devices on Windows, and a dot at the end, which Windows drops: an index means one thing anywhere."""
AGAIN = "Fetch or save the checkpoint again."


@dataclass(frozen=True, slots=True)
class Index:
    """What an index file says."""

    path: Path
    weight_map: Mapping[str, str]
    """Tensor name -> file name."""
    files: tuple[str, ...]
    """The names of the shards, in order."""
    total_size: int | float | None
    """Of all tensors [bytes], where it is given."""

    def require_files(self, weights: str) -> None:
        """Refuse shards that are missing, and files that are named as shards but stand in no index.

        Args: weights: what the file would be called if the weights were one file.
        Raises: PlanError: with every file.
        """
        folder, named = self.path.parent, set(self.files)
        problems = [
            Problem("missing", name, "the index names this file")
            for name in self.files
            if not is_file(folder / name)
        ]
        shard = shard_pattern(weights)
        shards = [name for name in names_in(folder) if shard.fullmatch(name)]
        problems += [
            Problem("unexpected", name, "a shard that the index does not name")
            for name in shards
            if name not in named
        ]
        if problems:
            raise PlanError(f"{self.path}: shards", problems, AGAIN)

    def require_agreement(self, naming: NamingName, contents: Mapping[str, Contents]) -> None:
        """Refuse an index that does not say of every tensor, and only of those, in which shard it is.

        Args: contents: what each shard holds, by file name.
        Raises: PlanError: with every tensor. SourceError: the sizes do not add up.
        """
        problems = list(self._problems(naming, contents))
        if problems:
            raise PlanError(f"{self.path}: index and shards disagree", problems, AGAIN)
        if self.total_size is not None:
            tensors = [stored for shard in contents.values() for stored in shard.tensors.values()]
            sums = sorted(_sums(tensors))
            if self.total_size not in sums:
                raise SourceError(
                    f"{self.path}: total_size is {self.total_size}, the shards hold {sums[-1]} bytes"
                )

    def _problems(self, naming: NamingName, contents: Mapping[str, Contents]) -> Iterator[Problem]:
        places = [(name, file) for file, shard in contents.items() for name in shard.tensors]
        stored, listed = set(places), set(self.weight_map.items())
        # transformers keeps TF's own level of the model in the index and strips it in the files.
        stripped = naming == "tf"
        if stripped:
            listed |= {(_below(name), file) for name, file in self.weight_map.items()}
        for name, count in Counter(name for name, _ in places).items():
            if count > 1:
                yield Problem("duplicate", name, "in two shards")
        for name, file in places:
            if (name, file) not in listed:
                yield Problem("unexpected", name, f"{file} holds it, the index does not say so")
        for name, file in self.weight_map.items():
            if (name, file) not in stored and not (stripped and (_below(name), file) in stored):
                yield Problem("missing", name, f"the index says {file}")


def shard_pattern(weights: str) -> re.Pattern[str]:
    """Return what shards of a file are called: `model-00001-of-00003.safetensors`."""
    stem, _, suffix = weights.rpartition(".")
    return re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{re.escape(suffix)}")


def read_index(path: Path) -> Index:
    """Return what an index says, before any file that it names is opened.

    Raises: SourceError: malformed, or it names something else than files beside it.
    """
    content = read_json(path)
    weight_map, metadata = content.get("weight_map"), content.get("metadata", {})
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(f"{path}: no weight_map")
    if not isinstance(metadata, dict):
        raise SourceError(f"{path}: metadata must be an object")
    files = {name: _file(path, file) for name, file in weight_map.items()}
    distinct = tuple(sorted(set(files.values())))
    spellings = Counter(map(str.lower, distinct))
    doubled = next((name for name, count in spellings.items() if count > 1), None)
    if doubled:
        raise SourceError(
            f"{path}: {doubled} in two spellings, which are one file where case does not count"
        )
    total = metadata.get("total_size")
    if total is not None and (isinstance(total, bool) or not isinstance(total, int | float)):
        raise SourceError(f"{path}: total_size must be a number")
    return Index(path, files, distinct, total)


def _file(path: Path, name: Json) -> str:
    """Return the name of a shard. Raises SourceError: it is none under the rules of POSIX and of Windows."""
    if not isinstance(name, str) or not SAFE_NAME.fullmatch(name) or RESERVED.fullmatch(name):
        raise SourceError(
            f"{path}: {in_words(name)} is not the plain name of a file beside the index"
        )
    return name


def _below(name: str) -> str:
    return name.split("/", 1)[-1]


def _sums(tensors: Sequence[Stored]) -> set[float]:
    """Return what transformers' versions count: shared bytes once or each time, a bool as a byte or as an eighth."""
    distinct = list({stored.chunks: stored for stored in tensors}.values())
    return {
        sum(
            stored.spec.nbytes * (eighth if stored.spec.dtype == "bool" else 1)
            for stored in counted
        )
        for counted in (tensors, distinct)
        for eighth in (1, 1 / 8)
    }
