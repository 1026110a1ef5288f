"""`check`: is a directory still what ckptconv wrote? Every byte is read again and held against the manifest.

No framework, and no format's reader where a file kept its size: the manifest says where each tensor lies, so
that a damaged header hides nothing. A file of another size is opened as what it is, to name its tensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from threading import Event
from typing import Literal

from ckptconv.base.errors import SourceError, require_path, system_reason
from ckptconv.base.files import FileReader
from ckptconv.base.leftovers import interrupted_replacements, replacement_of, stages_of
from ckptconv.base.presence import did_you_mean, is_folder, is_link, lies_at
from ckptconv.base.results import Result
from ckptconv.base.workers import counted, finish, workers
from ckptconv.stores.formats import Format
from ckptconv.stores.hub import is_address
from ckptconv.stores.layouts import huggingface
from ckptconv.stores.tensor import ITEMSIZE, Extent, Stored
from ckptconv.transfer.manifest import (
    MANIFEST,
    SUMS,
    FileDigest,
    Manifest,
    TensorDigest,
    extents_digest,
    file_digest,
    read_manifest,
)

GIVE_OUTPUT = " Give a directory that ckptconv wrote."


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One way in which a directory is not what it was."""

    kind: Literal["added", "removed", "renamed", "changed", "unreadable", "tensor", "edited"]
    name: str
    """Of the file, below the directory; of the tensor, as the manifest spells it."""
    detail: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Checked(Result):
    """What a check read, and what it found."""

    path: Path
    manifest: Manifest
    nbytes: int
    """Read, of files that the manifest names."""
    findings: tuple[Finding, ...]
    notices: tuple[str, ...] = ()
    """What killed runs left in the directory above."""

    @property
    def whole(self) -> bool:
        """True where nothing was added, taken away, renamed or changed."""
        return not self.findings

    @property
    def tensors(self) -> int:
        """Number of tensors that the manifest names."""
        return sum(len(file.tensors) for file in self.manifest.files.values())


def check(
    path: Path | str, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Checked:
    """Compare a directory with its manifest: the names and kinds of all that lies in it, and every byte of every file.

    Modes, owners, times and extended attributes are nothing that a manifest knows.

    Args: progress: called with bytes read and bytes to read.
    Raises: SourceError: there is no manifest, or it is malformed.
    """
    require_path(path)
    if is_address(path):
        raise SourceError(
            f"{path}: is an address, and every byte behind it would have to be read; copy it here first."
        )
    path = Path(path)
    if not lies_at(path) and (interrupted := replacement_of(path)):
        raise SourceError(interrupted)
    if not is_folder(path):
        raise SourceError(
            f"{path}: is a file; give the directory that ckptconv wrote."
            if lies_at(path)
            else f"{path}: no such directory.{did_you_mean(path, is_folder) or GIVE_OUTPUT}"
        )
    manifest, declared, raw = read_manifest(path)
    entries, hidden = _listing(path)
    digests = _digests(path, manifest, entries, progress)
    findings = [
        *_manifest_findings(path, manifest, declared, raw, entries),
        *hidden,
        *_moved(path, manifest, entries, digests),
    ]
    for name, digest in digests.items():
        if isinstance(digest, SourceError):
            findings.append(Finding("unreadable", name, str(digest)))
        elif digest.sha256 != manifest.files[name].sha256:
            findings += _changes(path / name, name, manifest.files[name], digest)
        else:
            findings += _contradictions(name, manifest.files[name], digest.nbytes)
    nbytes = sum(digest.nbytes for digest in digests.values() if isinstance(digest, FileDigest))
    real = Path(os.path.realpath(path))
    notices = (*stages_of(real), *interrupted_replacements(real.parent))
    return Checked(path, manifest, nbytes, tuple(findings), notices)


def _listing(folder: Path) -> tuple[set[str], list[Finding]]:
    """List what lies below a folder: files, and with a slash at the end empty folders and links to folders.

    Returns: the names, and a finding for each folder that may not be listed: what it holds is unknown.
    """
    entries: set[str] = set()
    errors: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=errors.append):
        above = Path(root).relative_to(folder)
        entries |= {(above / name).as_posix() for name in names}
        links = (name for name in folders if is_link(Path(root, name)))
        entries |= {f"{(above / name).as_posix()}/" for name in links}
        if not folders and not names and root != str(folder):
            entries.add(f"{above.as_posix()}/")
    hidden = [
        Finding(
            "unreadable",
            f"{Path(os.path.relpath(error.filename, folder)).as_posix()}/",
            f"cannot be listed ({system_reason(error)})",
        )
        for error in errors
    ]
    return entries, sorted(hidden)


def _contradictions(name: str, expected: FileDigest, nbytes: int) -> Iterator[Finding]:
    """Find what a manifest cannot mean of a file that has the digest it gives: it was made anew, and wrongly."""
    if expected.nbytes != nbytes:
        yield Finding(
            "edited", MANIFEST, f"says that {name} has {expected.nbytes} bytes; it has {nbytes}"
        )
    for tensor, digest in sorted(expected.tensors.items()):
        stored = sum(extent.nbytes for extent in digest.extents)
        needed = prod(digest.shape) * ITEMSIZE.get(digest.dtype, -1)
        end = max((extent.offset + extent.nbytes for extent in digest.extents), default=0)
        if stored != needed or end > nbytes:
            shape = list(digest.shape)
            yield Finding(
                "edited",
                MANIFEST,
                f"says that {tensor} of {name} is {digest.dtype} {shape}, which is not what lies where it says",
            )


def _digests(
    folder: Path, manifest: Manifest, there: set[str], progress: Callable[[int, int], None]
) -> dict[str, FileDigest | SourceError]:
    """Read every file that the manifest names and that is there, the largest first."""
    names = sorted(
        there & manifest.files.keys(), key=lambda name: (-manifest.files[name].nbytes, name)
    )
    add = counted(progress, sum(manifest.files[name].nbytes for name in names))
    stop = Event()

    def digest(name: str) -> FileDigest | SourceError:
        try:
            return file_digest(folder / name, stop, add)
        except SourceError as error:
            return error

    with workers() as pool:
        try:
            return dict(
                zip(names, finish([pool.submit(digest, name) for name in names]), strict=True)
            )
        finally:
            stop.set()  # a signal does not wait for the end of a large file


def _manifest_findings(
    folder: Path, manifest: Manifest, declared: str, raw: bytes, there: set[str]
) -> Iterator[Finding]:
    """Hold the manifest against its own digest, and the sums against the manifest."""
    dumped = manifest.dump()
    if manifest.digest != declared:
        yield Finding(
            "edited", MANIFEST, "its content does not have the digest that it gives for itself"
        )
    elif raw != dumped:
        yield Finding("edited", MANIFEST, "the same content, in other bytes")
    if not manifest.files:
        yield Finding("edited", MANIFEST, "names no file, so there is nothing that it could prove")
    if SUMS not in there:
        yield Finding("removed", SUMS)
        return
    try:
        with FileReader(folder / SUMS) as file:
            expected = manifest.sums(sha256(dumped).hexdigest())
            same = file.size == len(expected) and file.read(0, file.size) == expected
    except SourceError as error:
        yield Finding("unreadable", SUMS, str(error))
        return
    if not same:
        yield Finding("changed", SUMS, "not the sums of the files that the manifest names")


def _moved(
    folder: Path,
    manifest: Manifest,
    there: set[str],
    digests: Mapping[str, FileDigest | SourceError],
) -> Iterator[Finding]:
    """List what is there and should not be, and the other way round; a file that only changed its name is one."""
    added = sorted(there - manifest.files.keys() - {MANIFEST, SUMS})
    removed = {
        name: manifest.files[name] for name in sorted(manifest.files.keys() - digests.keys())
    }
    for name in added:
        twin = next((old for old, digest in removed.items() if _same(folder / name, digest)), None)
        if twin is None:
            yield Finding("added", name)
        else:
            removed.pop(twin)
            yield Finding("renamed", twin, f"it is {name} now")
    yield from (Finding("removed", name) for name in removed)


def _same(path: Path, digest: FileDigest) -> bool:
    """Tell whether a file has a digest; only one of the same size is read."""
    try:
        with FileReader(path) as file:
            return file.size == digest.nbytes and file_digest(path).sha256 == digest.sha256
    except SourceError:
        return False


def _changes(path: Path, name: str, expected: FileDigest, actual: FileDigest) -> list[Finding]:
    """Say what of a changed file is changed: its tensors by name, or what lies around them."""
    size = (
        f"{actual.nbytes} bytes, were {expected.nbytes}" if actual.nbytes != expected.nbytes else ""
    )
    if not expected.tensors:
        return [Finding("changed", name, size)]
    try:
        readable = size and huggingface.format_of(name) is not None
        tensors = list((_by_header if readable else _in_place)(path, name, expected))
    except SourceError as error:
        return [Finding("changed", name, f"{size}; {error}")]
    around = "; every tensor is what it was, the bytes around them are not" if not tensors else ""
    count = f"{len(tensors)} of {len(expected.tensors)} tensors" if tensors else ""
    return [
        Finding("changed", name, "; ".join(filter(None, (size, count, around[2:])))),
        *tensors,
    ]


def _in_place(path: Path, name: str, expected: FileDigest) -> Iterator[Finding]:
    """Compare every tensor where the manifest says that it lies; of a file that was cut, what is beyond the end."""
    with FileReader(path) as file:
        for own, tensor in sorted(expected.tensors.items()):
            if any(run.offset + run.nbytes > file.size for run in tensor.extents):
                yield Finding("tensor", own, "beyond the end")
            elif _tensor_digest(file, tensor.extents, tensor) != tensor.digest:
                yield Finding("tensor", own, "changed")


def _by_header(path: Path, name: str, expected: FileDigest) -> Iterator[Finding]:
    """Compare the tensors of a file of another size where its own header says that they lie."""
    actual = _form(name).read(path).tensors
    yield from (
        Finding("tensor", shared, "removed")
        for shared in sorted(expected.tensors.keys() - actual.keys())
    )
    yield from (
        Finding("tensor", shared, "added")
        for shared in sorted(actual.keys() - expected.tensors.keys())
    )
    with FileReader(path) as file:
        for shared in sorted(expected.tensors.keys() & actual.keys()):
            if _differs(file, actual[shared], expected, shared):
                yield Finding("tensor", shared, "changed")


def _differs(file: FileReader, stored: Stored, expected: FileDigest, name: str) -> bool:
    tensor = expected.tensors[name]
    if (stored.spec.dtype, stored.spec.shape) != (tensor.dtype, tensor.shape):
        return True
    return _tensor_digest(file, stored.extents, tensor) != tensor.digest


def _tensor_digest(file: FileReader, extents: Sequence[Extent], expected: TensorDigest) -> str:
    """Return the digest of a tensor by the algorithm that its manifest has."""
    return extents_digest(file, extents, algorithm=expected.algorithm)


def _form(name: str) -> Format:
    """Return the format of a weights file that ckptconv wrote. Raises SourceError: none has this name."""
    form = huggingface.format_of(name)
    if form is None:
        raise SourceError(
            f"{name}: no format that ckptconv writes has the suffix {Path(name).suffix!r}"
        )
    return form
