"""What `verify --push` did, as text and as JSON: the verification, and where it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptconv.report.stamp import stamped
from ckptconv.report.text import PIPE, Screen, closing, counted, one_line, printable, size
from ckptconv.report.verify import verification_json, verification_text

if TYPE_CHECKING:
    from ckptconv.base.strict_json import Json
    from ckptconv.verbs.push import Push


def push_text(result: Push, screen: Screen = PIPE) -> str:
    """Return the verification, whose verdict stays the last line but one."""
    text = verification_text(result.verification, screen)
    return f"{text}\n{closing(printable(pushed(result)), screen)}"


def pushed(result: Push) -> str:
    """Return where it went, in one line."""
    if not result.url:
        return f"nothing was pushed to {result.repo}"
    what = "pull request" if result.is_request else "commit"
    extent = f"{counted(len(result.files), 'file')}, {size(result.nbytes)}"
    return one_line(f"pushed to {result.repo}: {extent}, {what} {result.url}")


def push_json(result: Push) -> dict[str, Json]:
    """Return a push for --json."""
    verification = verification_json(result.verification)
    return stamped("push", {**pushed_json(result), "verification": verification})


def pushed_json(result: Push) -> dict[str, Json]:
    """Return where it went, and what; also for the verification that `verify --push --json` prints."""
    return {
        "repo": result.repo,
        "url": result.url,
        "pull_request": result.is_request,
        "files": list(result.files),
        "bytes": result.nbytes,
    }
