"""Names of the hub, and directories of its cache, where a checkpoint is asked for.

Downloading is huggingface_hub's work (the extra `[hub]`), with its cache, its offline switch and its token. What is
downloaded is chosen here, from the list of files: the config, generation settings and tokenizer, and the weights in
one format. Code never is.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ckptconv.base.errors import DestinationError, SourceError, one_line, require_path
from ckptconv.base.presence import lies_at
from ckptconv.base.weight_names import SUFFIXES
from ckptconv.stores.hub.names import HubName, full_name, hub_name

if TYPE_CHECKING:
    from ckptconv.schema.tensors import NamingName


ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://.+")


def is_address(source: object) -> bool:
    """Tell whether a source is an address such as `s3://bucket/model`, not a path nor a name on the hub."""
    return isinstance(source, str) and ADDRESS.fullmatch(source) is not None


def local_path(target: Path | str) -> Path:
    """Return the directory that is to be written. Raises DestinationError: an address is none. UsageError: blank."""
    require_path(target)
    if is_address(target) and not lies_at(target):
        raise DestinationError(
            f"{target}: an address can be read, not written.\n"
            "Write to a directory here, and copy it there with the store's own tools."
        )
    return Path(target)


def resolve(source: Path | str, naming: NamingName | None = None) -> Path:
    """Return the local directory that a path, a name on the hub or an address means; what exists here wins.

    Args: naming: whose weights are wanted; None takes what transformers would take first.
    Raises: UsageError: blank. SourceError: the hub has no such model, revision or weights, or does not give them.
    FrameworkError: huggingface_hub is missing, the hub cannot be reached, or a download broke off.
    """
    require_path(source)
    if is_address(source):
        name = hub_name(str(source).removeprefix("hf://"))  # as fsspec writes names of the hub
        if name is not None:
            return _downloaded(name, naming)
        from ckptconv.stores.remote import mirror

        return mirror(str(source))
    path = Path(source)
    if (cached := _from_cache(path)) is not None:
        return cached
    if _exists(path) or _was_replaced(path) or _mistyped(path) or _is_name_of_weights(path):
        return path
    if re.fullmatch(r"[\w.-]+", str(source)):
        raise SourceError(
            f"{source}: no such directory. A model on the hub has a name of two parts: "
            f"{full_name(str(source)) or 'org/name'}."
        )
    name = hub_name(source)
    return path if name is None else _downloaded(name, naming)


def _was_replaced(path: Path) -> bool:
    """Tell whether an interrupted run left a path without its directory."""
    from ckptconv.base.leftovers import replacement_of  # here, since few paths are absent

    return replacement_of(path) is not None


def _downloaded(name: HubName, naming: NamingName | None) -> Path:
    from ckptconv.stores.hub.download import Hub

    return Hub(name).fetch(naming)


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # such as a name that is too long; who opens it says so
        return True


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _mistyped(path: Path) -> bool:
    """Return whether a neighbour here is spelt so nearly alike that it was meant; its reader says so."""
    from difflib import get_close_matches

    if "@" in path.name:
        return False
    with suppress(OSError):  # no such folder, or one that may not be read
        return bool(
            get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
        )
    return False


def _is_name_of_weights(path: Path) -> bool:
    """Tell whether a path is spelt as a file of weights in a folder that is here: no model of the hub is meant."""
    return path.suffix in SUFFIXES and _is_directory(path.parent)


def _from_cache(path: Path) -> Path | None:
    """Return the snapshot in a directory of the hub's cache: the one of `main`, or the only one; None for another.

    Raises: SourceError: there is none, or nothing tells which of several.
    """
    if not path.name.startswith("models--") or not _is_directory(path / "snapshots"):
        return None
    names = sorted(entry.name for entry in (path / "snapshots").iterdir() if entry.is_dir())
    main = path / "refs" / "main"
    chosen = main.read_text(errors="replace").strip() if main.is_file() else ""
    if chosen in names:
        return path / "snapshots" / chosen
    if len(names) == 1:
        return path / "snapshots" / names[0]
    if not names:
        raise SourceError(
            f"{path}: nothing was downloaded into this part of the hub's cache. Fetch the model again."
        )
    raise SourceError(
        f"{path}: several snapshots and no main; give one of them: {', '.join(map(one_line, names))} (in snapshots/)."
    )
