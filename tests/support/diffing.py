"""What `diff` found, in a form that a test can compare."""

from __future__ import annotations

from ckptconv import Diff


def lines(found: Diff) -> list[tuple[str, str, str]]:
    """Return key, verdict and sentence of every tensor that differs, the worst first."""
    return [(one.key, one.verdict, str(one.relation)) for one in found.worst_first]
