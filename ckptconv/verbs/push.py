"""`verify --push`: a verified output goes to the hub, with the evidence; nothing else ever does.

What is uploaded is what the manifest names, by its digests, and the manifest itself; the verification as text in the
description of the commit or pull request, and as a page; and a section of the model card. The target's files are
hashed once here, before they are verified, and once more by huggingface_hub as it uploads them: what it sends is of
the digests that the manifest names, or nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ckptconv.base.errors import FrameworkError, SourceError, UsageError, one_line
from ckptconv.base.files import Snapshot
from ckptconv.base.presence import is_file
from ckptconv.base.results import Result
from ckptconv.stores.hub.names import HubName, hub_name
from ckptconv.stores.hub.upload import CARD, HubRepository, Upload, upload_of
from ckptconv.transfer.manifest import MANIFEST, SUMS, FileDigest, Manifest, read_manifest
from ckptconv.verbs.check import check
from ckptconv.verbs.verify import Level, Verification, verify

PAGE = "ckptconv-verification.html"
BEGIN, END = "<!-- ckptconv: begin -->", "<!-- ckptconv: end -->"
SECTION = re.compile(rf"\n*{BEGIN}.*?{END}\n*", re.DOTALL)
MAX_DESCRIPTION = 20_000
"""Characters of the verification in a description; the page has all of it."""


@dataclass(frozen=True, slots=True, repr=False)
class Push(Result):
    """What was verified, and where it went."""

    verification: Verification
    repo: str
    url: str = ""
    """Of the commit or the pull request; empty where nothing was pushed, since it did not match."""
    is_request: bool = False
    files: tuple[str, ...] = ()
    nbytes: int = 0


def push(
    source: Path | str,
    target: Path | str,
    repo: str,
    level: Level = "outputs",
    *,
    create_pr: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **verification: Any,
) -> Push:
    """Verify an output of ckptconv and, only if it matches, upload it to the hub.

    Args: repo: `org/name`, which is there. create_pr: open a pull request, not a commit on main.
    verification: further arguments of `verify`.
    Raises: as `verify`; and SourceError: the target is no whole output of ckptconv, or changed meanwhile.
    DestinationError: the hub refuses it. FrameworkError: huggingface_hub is missing, or the hub does not answer.
    UsageError: the name is none.
    """
    name = hub_name(repo)
    if name is None or name != HubName(name.repo):
        raise UsageError(f"{repo}: is not a name on the hub: org/name")
    hub, target = HubRepository(name.repo), Path(target)
    before = Snapshot.below(target)
    _require_whole(target)
    card = hub.card()
    result = verify(source, target, level, progress=progress, **verification)
    if not result.matches:
        return Push(result, name.repo)
    if Snapshot.below(target) != before:
        raise SourceError(f"{target}: changed while it was verified; nothing was pushed.")
    files = _uploads(target, result, card)
    commit = hub.commit(files, _title(result), _description(result), as_request=create_pr)
    nbytes = sum(
        len(file.content) if isinstance(file.content, bytes) else file.content.stat().st_size
        for file in files.values()
    )
    return Push(result, name.repo, commit.url, commit.is_request, tuple(files), nbytes)


def _require_whole(target: Path) -> None:
    """Refuse what ckptconv did not write, or not so. Raises SourceError."""
    checked = check(target)
    if not checked.whole:
        first = checked.findings[0]
        raise SourceError(
            f"{target}: is not what ckptconv wrote ({first.kind} {one_line(first.name)}); nothing was pushed.\n"
            "`ckptconv check` lists every change. Convert again."
        )


def _uploads(target: Path, result: Verification, card: str) -> dict[str, Upload]:
    """Return every file of the commit, with a manifest that names the card and the page as well."""
    manifest, _, _ = read_manifest(target)
    files = {name: Upload(target / name, digest.sha256) for name, digest in manifest.files.items()}
    own = target / CARD
    text = card or (own.read_text(encoding="utf-8", errors="replace") if is_file(own) else "")
    files[CARD] = upload_of(with_section(text, card_section(result, manifest)).encode())
    if page := _page(result):
        files[PAGE] = upload_of(page)
    added = {
        name: FileDigest(len(file.content), sha256(file.content).hexdigest())
        for name, file in files.items()
        if isinstance(file.content, bytes)
    }
    complete = replace(manifest, files={**manifest.files, **added})
    dumped = complete.dump()
    files[MANIFEST] = upload_of(dumped)
    files[SUMS] = upload_of(complete.sums(sha256(dumped).hexdigest()))
    return dict(sorted(files.items()))


def _page(result: Verification) -> bytes:
    """Return the verification as a page; nothing where the extra `html` is not installed."""
    with TemporaryDirectory(prefix="ckptconv-") as folder:
        path = Path(folder) / PAGE
        try:
            result.save_html(path)
        except FrameworkError:
            return b""
        return path.read_bytes()


def _title(result: Verification) -> str:
    names = {"pytorch": "PyTorch", "tf": "TensorFlow", "flax": "Flax"}
    return f"Add {names.get(result.naming, result.naming)} weights, verified by ckptconv"


def _description(result: Verification) -> str:
    """Return the verification as Markdown: no line of it can end the block."""
    text = str(result).replace("```", "'''")
    if len(text) > MAX_DESCRIPTION:
        text = f"{text[:MAX_DESCRIPTION]}\n... ({PAGE} has all of it)"
    return f"{_summary(result)}\n\n```text\n{text}\n```\n"


def _summary(result: Verification) -> str:
    weights, outputs = result.weights, result.outputs
    lines = [
        f"All {weights.tensors} tensors are identical to the {result.source_naming} weights, bit for bit."
    ]
    if outputs is None:
        lines.append("The models were not run (`--level weights`).")
    else:
        versions = {
            name: version for answer in outputs.answers for name, version in answer.versions.items()
        }
        ran = ", ".join(f"{name} {version}" for name, version in versions.items())
        tolerance = next((each.tolerance for each in outputs.quantities if each.tolerance), None)
        limit = (
            f"a tolerance that was chosen (atol {tolerance.atol:g}, rtol {tolerance.rtol:g})"
            if tolerance
            else "its own rounding error"
        )
        generations = len(outputs.generations)
        lines.append(
            f"{len(outputs.quantities)} outputs and {generations} generation{'' if generations == 1 else 's'} agree"
            f" with the source within {limit} ({ran})."
        )
    return " ".join(lines)


def card_section(result: Verification, manifest: Manifest) -> str:
    """Return what the model card says of the conversion."""
    origin = manifest.origin
    weights = ", ".join(f"`{name}`" for name, file in manifest.files.items() if file.tensors)
    return "\n".join(
        (
            BEGIN,
            "## Converted weights",
            "",
            f"{weights}: written by ckptconv {origin.version} (`{origin.command}`) and verified against the source.",
            _summary(result),
            "",
            f"Every file and its digest stand in `{MANIFEST}`; `ckptconv check .` or `sha256sum -c {SUMS}` holds"
            " a download against it.",
            END,
        )
    )


def with_section(card: str, section: str) -> str:
    """Return a card in which the section stands once: in the place of an earlier one, or at the end."""
    if SECTION.search(card):
        return SECTION.sub(lambda _: f"\n\n{section}\n\n", card, count=1).strip("\n") + "\n"
    head = card.rstrip("\n")
    if not head:
        head = "---\nlibrary_name: transformers\n---"
    return f"{head}\n\n{section}\n"
