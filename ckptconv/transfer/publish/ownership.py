"""What `--overwrite` may replace: a directory that ckptconv wrote, and that holds nothing else.

It is told from the directory's manifest and from a listing. A file is hashed only where it is younger than the
manifest, as after a copy, or after a training run that saved into an output of ours: those weights have the
names that the manifest gives, and are not what ckptconv wrote.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ckptconv.base.errors import DestinationError, SourceError
from ckptconv.base.mounts import is_mount_point, mount_points
from ckptconv.base.strict_json import Json, read_json
from ckptconv.base.untrusted import one_line
from ckptconv.transfer.digests import file_digest
from ckptconv.transfer.manifest import MANIFEST, NAME, SUMS

MAX_SHOWN = 5
"""Foreign entries that a refusal names."""
KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a directory"}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a directory holds, by whether its manifest answers for it."""

    ours: frozenset[str]
    """Paths of files below the directory that ckptconv wrote; with slashes."""
    foreign: tuple[str, ...]
    """Everything else, as a message names it: `thesis.tex`, `.git/`, `vocab.txt (changed since)`."""
    why: str
    """What is wrong with the manifest itself; empty where it is one."""

    @property
    def replaceable(self) -> bool:
        """True where nothing but what ckptconv wrote would be lost."""
        return not self.foreign


@dataclass(frozen=True, slots=True)
class _Named:
    """One file, as the manifest describes it."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Manifest:
    files: Mapping[str, _Named]
    written_ns: int
    """When the manifest was written: it is the last file but the sums."""
    sums: bytes
    """What the file of sums must be."""

    @property
    def folders(self) -> frozenset[str]:
        """The directories that hold the files."""
        return frozenset(
            parent.as_posix() for name in self.files for parent in Path(name).parents
        ) - {"."}


def require_replaceable(target: Path) -> None:
    """Refuse what `--overwrite` must not replace. Raises DestinationError, OSError."""
    mode = target.lstat().st_mode
    if not stat.S_ISDIR(mode):
        what = KINDS.get(stat.S_IFMT(mode), "not a directory")
        raise DestinationError(
            f"{target}: is {what}; --overwrite replaces only a directory that ckptconv wrote."
        )
    if is_mount_point(target, mount_points()):
        raise DestinationError(
            f"{target}: is a mount point, which cannot be replaced; give a directory below it."
        )
    contents = examine(target)
    if contents.replaceable:
        return
    shown = ", ".join(contents.foreign[:MAX_SHOWN])
    more = len(contents.foreign) - MAX_SHOWN
    listed = shown + (f" and {more} more" if more > 0 else "")
    if contents.why:
        reason = f"{contents.why}, so --overwrite leaves it alone"
        reason += f"; it holds {listed}." if listed else "."
    else:
        reason = f"holds what ckptconv did not write, so --overwrite leaves it alone: {listed}."
    raise DestinationError(
        f"{target}: {reason}\nMove that away or remove it yourself, or give another directory."
    )


def examine(folder: Path) -> Contents:
    """Divide what a directory holds into what ckptconv wrote and what it did not.

    An empty directory has neither. Nothing is followed: a link is foreign, and so is a mount point.

    Raises: OSError: the directory cannot be listed.
    """
    try:
        manifest = _manifest(folder)
    except SourceError as error:
        entries = sorted(os.listdir(folder))  # noqa: PTH208  # a name each is all that is needed
        return Contents(frozenset(), tuple(_shown(folder, name) for name in entries), str(error))
    ours: set[str] = set()
    foreign = sorted(_walk(folder, manifest, mount_points(), ours))
    return Contents(frozenset(ours), tuple(foreign), "")


def _walk(
    folder: Path, manifest: _Manifest, mounts: frozenset[bytes], ours: set[str]
) -> Iterator[str]:
    """Yield what is foreign, and add what is not to `ours`; foreign directories are not entered."""
    folders, todo = manifest.folders, [""]
    while todo:
        above = todo.pop()
        try:
            with os.scandir(folder / above) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            yield f"{one_line(above)}/ (cannot be listed: {error.strerror})"
            continue
        for own in names:
            name = f"{above}/{own}" if above else own
            why = _objection(folder / name, name, manifest, mounts)
            if why is None and name in folders:
                todo.append(name)
            elif why is None:
                ours.add(name)
            else:
                yield _shown(folder, name) + (f" ({why})" if why else "")


def _objection(path: Path, name: str, manifest: _Manifest, mounts: frozenset[bytes]) -> str | None:
    """Say why an entry is foreign, "" where its name says it all; None where it is ckptconv's."""
    try:
        status, mounted = path.lstat(), is_mount_point(path, mounts)
    except OSError as error:
        return error.strerror
    if mounted:
        return "a mount point"
    if name in manifest.folders:
        return (
            None
            if stat.S_ISDIR(status.st_mode)
            else KINDS.get(stat.S_IFMT(status.st_mode), "no directory")
        )
    named = manifest.files.get(name)
    if named is None and name not in (MANIFEST, SUMS):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return KINDS.get(stat.S_IFMT(status.st_mode), "not a file")
    if name == SUMS and named is None:
        return None if _holds(path, manifest.sums) else "changed since"
    return None if named is None or _unchanged(path, status, named, manifest) else "changed since"


def _unchanged(path: Path, status: os.stat_result, named: _Named, manifest: _Manifest) -> bool:
    """Tell whether a file is what the manifest says; its bytes are read only where it is younger."""
    if status.st_size != named.nbytes:
        return False
    if max(status.st_mtime_ns, status.st_ctime_ns) <= manifest.written_ns:
        return True
    try:
        return file_digest(path).sha256 == named.sha256
    except SourceError:
        return False


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _shown(folder: Path, name: str) -> str:
    path = folder / name
    is_folder = path.is_dir() and not path.is_symlink()
    return one_line(name) + ("/" if is_folder else "")


def _manifest(folder: Path) -> _Manifest:
    """Return what the manifest says of its files, whichever version of ckptconv wrote it.

    Raises: SourceError: there is none, or it is not one that ckptconv wrote; without the directory's name.
    """
    path = folder / MANIFEST
    try:
        status = path.lstat()
    except OSError:
        raise SourceError(f"has no {MANIFEST}") from None
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"has a {MANIFEST} that is no regular file")
    try:
        values = read_json(path)
    except SourceError:
        raise SourceError(f"has a {MANIFEST} that cannot be read") from None
    declared = values.pop("sha256", None)
    spelled = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    files = values.get("files")
    is_ours = type(values.get("manifest")) is int and isinstance(values.get("ckptconv"), str)
    if not is_ours or not isinstance(files, dict) or not all(map(_is_file, files.items())):
        raise SourceError(f"has a {MANIFEST} that ckptconv did not write")
    if declared != sha256(spelled).hexdigest():
        raise SourceError(f"has a {MANIFEST} that was edited")
    named = {name: _named(value) for name, value in files.items()}
    digests = {name: file.sha256 for name, file in named.items()}
    digests[MANIFEST] = file_digest(path).sha256
    sums = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()
    return _Manifest(named, status.st_mtime_ns, sums)


def _is_file(item: tuple[str, Json]) -> bool:
    """Tell whether an entry of the manifest names a file below the directory."""
    name, value = item
    return (
        NAME.fullmatch(name) is not None
        and isinstance(value, dict)
        and type(value.get("bytes")) is int
        and isinstance(value.get("sha256"), str)
    )


def _named(value: Json) -> _Named:
    assert isinstance(value, dict)
    nbytes, digest = value["bytes"], value["sha256"]
    assert isinstance(nbytes, int)
    assert isinstance(digest, str)
    return _Named(nbytes, digest)
