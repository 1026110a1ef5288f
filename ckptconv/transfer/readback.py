"""What was written, read back: every tensor through its format's own reader, and the file as a whole.

Both are made from what the system returns now, not from what it was given: the tensors' digests must be
those that were poured, and the file's digest is what the manifest says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ckptconv.base.errors import DestinationError
from ckptconv.base.untrusted import one_line
from ckptconv.base.workers import finish
from ckptconv.stores.formats import Format
from ckptconv.stores.parsers.files import FileReader
from ckptconv.stores.tensor import Stored, TensorSpec
from ckptconv.transfer.digests import FileDigest, TensorDigest, extents_digest, file_digest


@dataclass(frozen=True, slots=True)
class Poured:
    """A target whose bytes were written, and their digest."""

    spec: TensorSpec
    sha256: str


def read_back(
    form: Format,
    path: Path,
    expected: Mapping[str, Poured],
    pool: ThreadPoolExecutor,
    progress: Callable[[int], None],
) -> FileDigest:
    """Read a file back through the format's own reader: names, dtypes, shapes and every byte.

    Returns: the digests of the file and its tensors. Raises: DestinationError: something differs.
    """
    found = form.read(path).tensors
    wrong = {
        name
        for name in {*found, *expected}
        if name not in found or name not in expected or found[name].spec != expected[name].spec
    }
    stop = Event()
    whole = pool.submit(
        file_digest, path, stop
    )  # the longest work first, for one of the threads alone
    names = [name for name in found if name not in wrong]
    try:
        with FileReader(path) as file:
            digests = finish([pool.submit(_digest, file, found[name], progress) for name in names])
    except BaseException:
        stop.set()
        raise
    tensors = dict(zip(names, digests, strict=True))
    named = sorted(wrong) + [
        name for name in names if tensors[name].sha256 != expected[name].sha256
    ]
    if named:
        raise DestinationError(
            f"{path.name}: read back otherwise than written: {', '.join(map(one_line, named[:5]))};"
            " nothing was published.\nThe disk or the memory of this machine may be faulty."
        )
    (digest,) = finish([whole])
    return FileDigest(digest.nbytes, digest.sha256, tensors)


def _digest(file: FileReader, stored: Stored, progress: Callable[[int], None]) -> TensorDigest:
    spec = stored.spec
    digest = extents_digest(file, stored.extents)
    progress(spec.nbytes)
    return TensorDigest(spec.dtype, spec.shape, stored.extents, digest)
