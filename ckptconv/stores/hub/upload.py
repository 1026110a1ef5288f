"""A commit or a pull request on the hub, by huggingface_hub: some files, whose digests are known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from ckptconv.base.errors import CkptconvError, DestinationError, FrameworkError, SourceError
from ckptconv.base.files import limits
from ckptconv.base.workers import note_until_published
from ckptconv.stores.hub.bars import shows_downloads
from ckptconv.stores.hub.bounds import bounded
from ckptconv.stores.hub.download import COMMIT, Hub, reason_of
from ckptconv.stores.hub.names import HubName

CARD = "README.md"
SERVER_ERRORS = 500
"""HTTP status from which on the hub, or what stands before it, failed: what was asked may be done or not."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a commit."""

    content: Path | bytes
    sha256: str
    """What it must be [64 hex digits]."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What the hub made of it."""

    url: str
    """Of the pull request, or of the commit."""
    is_request: bool


class HubRepository(Hub):
    """A repository of the hub that is written to."""

    def __init__(self, repo: str) -> None:
        """Take `org/name`. Raises FrameworkError: huggingface_hub is missing."""
        super().__init__(HubName(repo))
        self._head = ""
        self._outcome = "nothing was pushed"

    def card(self) -> str:
        """Return the model card that is there, and remember the commit that it is of.

        Raises: DestinationError: no such repository, or none that may be read. FrameworkError: no answer.
        """
        with bounded():
            api = self._library.HfApi()
            info = self._asked(lambda: api.model_info(self._name.repo))
            self._require(COMMIT.fullmatch(info.sha or "") is not None, "the hub names no commit.")
            self._head = info.sha
            if CARD not in {sibling.rfilename for sibling in info.siblings or ()}:
                return ""
            text = self._file(CARD, info.sha).read_bytes()
        self._require(len(text) <= limits().json_bytes, f"{CARD} is too long to be a model card.")
        return text.decode(errors="replace")

    def commit(
        self, files: Mapping[str, Upload], title: str, description: str, *, as_request: bool
    ) -> Commit:
        """Add files in one commit, on top of what `card` looked at, or in a pull request.

        Args: files: name -> content. A file that is not of its digest stops all of it.
        Raises: DestinationError: refused, or the repository has moved meanwhile. FrameworkError: no answer.
        """
        utils = import_module("huggingface_hub.utils")
        with_bars = shows_downloads() and not utils.are_progress_bars_disabled()
        (utils.enable_progress_bars if with_bars else utils.disable_progress_bars)()
        operations = []
        for name, upload in files.items():
            content = upload.content if isinstance(upload.content, bytes) else str(upload.content)
            operation = self._library.CommitOperationAdd(name, content)
            now = operation.upload_info.sha256.hex()
            if now != upload.sha256:
                raise SourceError(f"{name}: changed after it was verified; nothing was pushed.")
            operations.append(operation)
        api = self._library.HfApi()
        self._outcome = f"the upload may be on the hub or not; look at {self._name.repo}"
        note_until_published(self._outcome)
        commit = self._asked(
            lambda: api.create_commit(
                self._name.repo,
                operations,
                commit_message=title,
                commit_description=description,
                create_pr=as_request,
                parent_commit=self._head or None,
            )
        )
        note_until_published("the upload is on the hub")
        return Commit(str(commit.pr_url if as_request else commit.commit_url), as_request)

    def _translated(self, error: Exception, file: str) -> CkptconvError:
        """Return an exception of the library in our own words; here the hub is a destination."""
        kinds, name = {kind.__name__ for kind in type(error).__mro__}, self._name
        if kinds & {"RepositoryNotFoundError", "GatedRepoError"}:
            return DestinationError(
                f"{name}: no such model on the hub that you may write to; nothing was pushed.\n"
                "Make it first (`hf repo create`), and set HF_TOKEN or run `hf auth login`."
            )
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if ("HfHubHTTPError" in kinds or "HTTPError" in kinds) and status < SERVER_ERRORS:
            return DestinationError(
                f"{name}: the hub refuses it ({reason_of(error)}); nothing was pushed.\n"
                "HF_TOKEN must allow writing; where the repository changed meanwhile, run the command again."
            )
        if "ValueError" in kinds and "OSError" not in kinds:
            return DestinationError(f"{name}: the hub refuses it ({str(error)[:200]!a}).")
        return FrameworkError(
            f"{name}: the request to the hub failed ({reason_of(error)}); {self._outcome}."
        )


def upload_of(content: bytes) -> Upload:
    """Return a file that was made here."""
    return Upload(content, sha256(content).hexdigest())
