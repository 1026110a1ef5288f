"""What `diff` found, in a form that a test can compare."""

from __future__ import annotations

from ckptconv import Diff


def lines(found: Diff) -> list[tuple[str, str, str]]:
    """Return key, verdict and sentence of every tensor that differs, the worst first."""
    return [(line.key, line.verdict, str(line.relation)) for line in found.worst_first]
