"""An error that a user allows in place of the yardstick; apart from it, since to name one imports nothing that runs."""

from __future__ import annotations

from dataclasses import dataclass

from ckptconv.base.errors import require_number


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a user allows instead: |error| <= atol + rtol * |largest value of the reference|, for every element."""

    atol: float
    rtol: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no tolerance. Raises UsageError."""
        require_number("atol", self.atol)
        require_number("rtol", self.rtol)
