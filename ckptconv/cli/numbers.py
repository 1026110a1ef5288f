"""Numbers that an option takes: finite, and within what the code behind it can hold."""

from __future__ import annotations

import math
import threading
from typing import Any

import click


class Number(click.FloatRange):
    """A finite number in a range; `nan` is in every range for Click, and `inf` in some."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; anything else is wrong usage."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!a} is not a finite number", param, ctx)
        return number


SEED = click.IntRange(0, 2**63 - 1)
"""What numpy and every framework take as a seed."""
PERCENT = Number(0, 100)
SECONDS = Number(0, threading.TIMEOUT_MAX, min_open=True)
"""A time that the system can wait for."""
