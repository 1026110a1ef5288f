"""Whether something lies at a path, and what a directory holds; where the system fails to say, that is an error.

`Path.is_file`, `os.path.lexists`, `glob` and `os.walk` take a system that answers with an error for one that says
"no": each in its own way, and otherwise in each version of Python. A disk that fails once would then cost a
checkpoint its tokenizer, or a directory of outputs its manifest, and nobody would hear of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptconv.base.errors import SourceError, one_line, system_reason

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What the system answers where nothing can lie; a link to itself leads nowhere."""

OF_THE_DISK = "lost+found"
"""What mkfs makes at the root of a disk, and root alone may enter: no part of a checkpoint that lies there."""


def status_of(path: str | os.PathLike[str], *, follow: bool = True) -> os.stat_result | None:
    """Return the status of what lies at a path, or None where nothing does.

    Args: follow: of what a link leads to, instead of the link's own.
    Raises: OSError: the system cannot tell.
    """
    try:
        return Path(path).stat(follow_symlinks=follow)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    except ValueError:  # a null character, which no name has
        return None


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system says within the block into a refusal of the source. Raises SourceError."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{os.fspath(path)}: cannot be read ({system_reason(error)})") from None


def readable_status(path: str | os.PathLike[str], *, follow: bool = True) -> os.stat_result | None:
    """Return what `status_of` does, of a source. Raises SourceError: the system cannot tell."""
    with reading(path):
        return status_of(path, follow=follow)


def lies_at(path: str | os.PathLike[str]) -> bool:
    """Tell whether anything has this name, even a link that leads nowhere. Raises SourceError: nobody can tell."""
    return readable_status(path, follow=False) is not None


def is_link(path: str | os.PathLike[str]) -> bool:
    """Tell whether a link lies there, wherever it leads. Raises SourceError: nobody can tell."""
    status = readable_status(path, follow=False)
    return status is not None and stat.S_ISLNK(status.st_mode)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether a regular file, or a link to one, lies there. Raises SourceError: nobody can tell."""
    status = readable_status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether a directory, or a link to one, lies there. Raises SourceError: nobody can tell."""
    status = readable_status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def size_of(path: Path) -> int:
    """Return the length of a file [bytes]. Raises SourceError: there is none, or nobody can tell."""
    with reading(path):
        return path.stat().st_size


def names_in(folder: Path) -> list[str]:
    """Return the names in a directory, sorted, but for `lost+found`; none where there is no directory.

    Raises: SourceError: it cannot be listed.
    """
    with reading(folder):
        try:
            return sorted({*os.listdir(folder)} - {OF_THE_DISK})  # noqa: PTH208  # names are all that is needed
        except OSError as error:
            if error.errno in ABSENT:
                return []
            raise
        except ValueError:  # as in `status_of`
            return []


def did_you_mean(path: Path, suits: Callable[[Path], bool]) -> str:
    """Return a question that names a neighbour spelt nearly as a path that leads nowhere; empty where there is none.

    Args: suits: whether a neighbour is of the right kind.
    """
    from difflib import get_close_matches  # here, since few paths lead nowhere

    names: list[str] = []
    with suppress(SourceError):  # it is a hint
        names = [name for name in names_in(path.parent) if suits(path.parent / name)]
    near = get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / one_line(near[0])}?" if near else ""


def files_below(path: Path) -> list[Path]:
    """Return the files at any depth below a directory, in order; a file is the only one below itself.

    Raises: SourceError: as `walked`.
    """
    return [path] if is_file(path) else sorted(walked(path))


def walked(folder: Path) -> Iterator[Path]:
    """Return the files at any depth below a directory as they are found, but for what is in a `lost+found`.

    Links to directories are not followed.

    Raises: SourceError: a directory cannot be listed.
    """

    def fail(error: OSError) -> None:
        with reading(error.filename):
            if error.errno not in ABSENT:
                raise error

    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name != OF_THE_DISK]
        yield from (Path(root, name) for name in names)
