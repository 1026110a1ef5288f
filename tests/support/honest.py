"""The table of honest ratios in docs/verify.md: how far right conversions are from float64, by kind of quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from faultkit.table import put
from pairs import SEEDS, Case, Outcome, Ratios

BEGIN = "<!-- honest ratios -->"
COLUMNS = ("tf", "flax")
PERCENTILE = 99


def write_table(judged: Mapping[Case, Outcome]) -> None:
    """Write what was measured, with the number of draws, into the page."""
    by_naming = {
        name: [
            ratio for case, found in judged.items() if case.naming == name for ratio in found.ratios
        ]
        for name in COLUMNS
    }
    kinds = dict.fromkeys(item.kind for some in by_naming.values() for item in some)
    rows = [
        (kind, *(cell for name in COLUMNS for cell in _cells(kind, by_naming[name])))
        for kind in kinds
    ]
    headers = ("ratio of honest conversions", "TF, RMS", "TF, worst", "Flax, RMS", "Flax, worst")
    table = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
    total = sum(map(len, by_naming.values()))
    put(BEGIN, f"{total:,} quantities, {SEEDS} draws of every pair:\n\n{table}")


def _cells(kind: str, found: Sequence[Ratios]) -> tuple[str, str]:
    """Return, for RMS and for the worst element, below what 99 in 100 are, and the largest."""
    some = [item for item in found if item.kind == kind]
    rms, worst = ([item.rms for item in some], [item.worst for item in some])
    return _cell(rms), _cell(worst)


def _cell(ratios: Sequence[float]) -> str:
    return f"{np.percentile(ratios, PERCENTILE):.2f}, {max(ratios):.2f}"
