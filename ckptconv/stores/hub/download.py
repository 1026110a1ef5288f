"""One model of the hub fetched: what is needed of it, by huggingface_hub, with its cache and its switches."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ckptconv.base.environment import install_advice
from ckptconv.base.errors import CkptconvError, FrameworkError, SourceError, one_line
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.companions import travelling
from ckptconv.stores.foreign import foreign_weights
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.hub.bars import shows_downloads
from ckptconv.stores.hub.bounds import bounded
from ckptconv.stores.hub.names import HubName
from ckptconv.stores.layouts import huggingface
from ckptconv.stores.parsers.shard_index import read_index

COMMIT = re.compile(r"[0-9a-f]{40}")
"""What a revision is on the hub: a commit of git."""


class Hub:
    """Fetches one model, and says what went wrong in its own words."""

    def __init__(self, name: HubName) -> None:
        self._name = name
        try:
            self._library = import_module("huggingface_hub")
        except ImportError as error:
            missing = "" if error.name == "huggingface_hub" else f" ({one_line(str(error))})"
            raise FrameworkError(
                f"{name}: no such directory; reading from the hub needs huggingface_hub{missing}.\n"
                f"{install_advice('hub')}"
            ) from None

    def fetch(self, naming: NamingName | None) -> Path:
        """Download what a checkpoint needs into the hub's cache, and return the snapshot there."""
        if import_module("huggingface_hub.constants").HF_HUB_OFFLINE:
            return self._cached(naming)
        utils = import_module("huggingface_hub.utils")
        with_bars = shows_downloads() and not utils.are_progress_bars_disabled()
        (utils.enable_progress_bars if with_bars else utils.disable_progress_bars)()
        with bounded():
            return self._fetched(naming)

    def addresses(self) -> tuple[dict[str, tuple[str, int | None]], dict[str, str]]:
        """Return file -> address and size of it at the revision's commit; and the headers that give access.

        Raises: SourceError, FrameworkError.
        """
        with bounded():
            info = self._asked(
                lambda: self._library.HfApi().model_info(
                    self._name.repo, revision=self._name.revision, files_metadata=True
                )
            )
        self._require(COMMIT.fullmatch(info.sha or "") is not None, "the hub names no commit.")
        files = {
            sibling.rfilename: (
                self._library.hf_hub_url(self._name.repo, sibling.rfilename, revision=info.sha),
                sibling.size,
            )
            for sibling in info.siblings or ()
        }
        headers: dict[str, str] = import_module("huggingface_hub.utils").build_hf_headers()
        return files, headers

    def _fetched(self, naming: NamingName | None) -> Path:
        """Download what is not in the cache. Raises SourceError, FrameworkError."""
        info = self._asked(
            lambda: self._library.HfApi().model_info(self._name.repo, revision=self._name.revision)
        )
        files = {sibling.rfilename for sibling in info.siblings or ()}
        self._require(
            COMMIT.fullmatch(info.sha or "") is not None,
            f"the hub names {str(info.sha)[:80]!a} as its commit, which is none.",
        )
        self._require("config.json" in files, "no config.json there, so this is no checkpoint.")
        # The first file is asked for by the revision's own name, so that the cache knows where it points.
        folder = self._file("config.json", self._name.revision).parent
        self._require(folder.name == info.sha, "changed while it was read. Run the command again.")
        for name in self._others(files, naming, folder):
            self._file(name, info.sha)
        return folder

    def _others(
        self, files: Collection[str], naming: NamingName | None, folder: Path
    ) -> Iterator[str]:
        """Return what is wanted beside the config: the weights last, and shards after their index."""
        chosen = huggingface.first_choice(files, naming)
        if chosen is None:
            raise SourceError(self._no_weights(files, naming))
        yield from travelling(files)
        form, name = chosen
        yield name
        if name == huggingface.index_name(form):
            yield from self._shards(folder / name, files)

    def _shards(self, index: Path, files: Collection[str]) -> Sequence[str]:
        """Return which files an index names. Raises SourceError: it is malformed, or one of them is not there."""
        names = read_index(index).files
        absent = [name for name in names if name not in files]
        self._require(
            not absent, f"{index.name} names files that are not there: {', '.join(absent[:5])}"
        )
        return names

    def _no_weights(self, files: Collection[str], naming: NamingName | None) -> str:
        alternative = huggingface.first_choice(files, None)
        if alternative is None:
            names = ", ".join(sorted(set(map(huggingface.weights_name, FORMATS.values()))))
            foreign = "".join(f"\n{line}" for line in foreign_weights(files))
            return f"{self._name}: no weights there; looked for {names} and their shards.{foreign}"
        form, name = alternative
        advice = (
            f" `ckptconv {form.namings[0]}2pt` makes PyTorch's of them."
            if naming == "pytorch"
            else ""
        )
        return f"{self._name}: no {naming} weights there; there is {name}.{advice}"

    def _cached(self, naming: NamingName | None) -> Path:
        """Return what was downloaded before, whole or not at all."""
        cached = self._library.try_to_load_from_cache(
            self._name.repo, "config.json", revision=self._name.revision
        )
        folder = Path(cached).parent if isinstance(cached, str) else None
        files = {entry.name for entry in folder.iterdir() if entry.is_file()} if folder else set()
        chosen = huggingface.first_choice(files, naming)
        if folder is None or chosen is None:
            what = "its weights are not" if folder else "it is not"
            raise FrameworkError(
                f"{self._name}: HF_HUB_OFFLINE is set, and {what} in the hub's cache.\n"
                "Unset it for one run, or copy the cache of a machine that has the model."
            )
        return folder

    def _file(self, name: str, revision: str) -> Path:
        return Path(
            self._asked(
                lambda: self._library.hf_hub_download(self._name.repo, name, revision=revision),
                name,
            )
        )

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise SourceError(f"{self._name}: {otherwise}")

    def _asked(self, question: Callable[[], Any], file: str = "") -> Any:
        """Ask the hub; every error becomes one sentence and the next step.

        The library's own errors are told by their names, which older versions keep in other modules. What else comes
        out of it depends on the version (requests' errors are OSErrors, httpx's are not) and on what the server sends
        (a ValueError for a revision that is a path).
        """
        try:
            with self._silent():
                return question()
        except CkptconvError:  # a signal came meanwhile
            raise
        except Exception as error:
            raise self._translated(error, file) from None

    def _translated(self, error: Exception, file: str) -> CkptconvError:
        """Return an exception of the library in our own words."""
        kinds, name = {kind.__name__ for kind in type(error).__mro__}, self._name
        if "GatedRepoError" in kinds:
            return SourceError(
                f"{name}: gated: accept its conditions on its page, then set HF_TOKEN or run `hf auth login`."
            )
        if "RevisionNotFoundError" in kinds:
            return SourceError(
                f"{name.repo}: has no branch, tag or commit {name.revision!r} on the hub."
            )
        if "RepositoryNotFoundError" in kinds:
            return SourceError(
                f"{name}: no such directory here, and no such model on the hub that you may read.\n"
                "Check the name; for a private model set HF_TOKEN or run `hf auth login`."
            )
        if "LocalEntryNotFoundError" in kinds:
            return FrameworkError(self._broken(file, error.__cause__ or error))
        if kinds & {"HFValidationError", "EntryNotFoundError"}:
            return SourceError(f"{name}: the hub refuses this name or file ({reason_of(error)}).")
        if "ValueError" in kinds and "OSError" not in kinds:  # of a commit that is a path
            return SourceError(f"{name}: the hub answered what it should not ({reason_of(error)}).")
        return FrameworkError(self._broken(file, error))

    @contextmanager
    def _silent(self) -> Iterator[None]:
        """Keep the library's log quiet meanwhile: its errors come as exceptions too, and become our sentences."""
        logging = import_module("huggingface_hub.utils.logging")
        before = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)
        try:
            yield
        finally:
            logging.set_verbosity(before)

    def _broken(self, file: str, error: BaseException) -> str:
        """Say that the hub cannot be reached, or that a download broke off."""
        if not file:
            return (
                f"{self._name}: no such directory here, and the hub cannot be reached ({reason_of(error)}).\n"
                "Check the network; HF_HUB_OFFLINE=1 takes what was downloaded before."
            )
        return (
            f"{self._name}: the download of {file} broke off ({reason_of(error)}).\n"
            "Run the command again: it goes on where it stopped."
        )


def reason_of(error: BaseException) -> str:
    """Return why, in a few words: the system's, the hub's status, or the kind of error."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return getattr(error, "strerror", None) or (
        f"HTTP status {status}" if status else type(error).__name__
    )
