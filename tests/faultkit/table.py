"""The tables of planted faults in docs/verify.md: what stands there, and its renewal by `CKPTCONV_WRITE=1`.

<!-- faults NAME -->
| fault | TF | Flax |
|---|---:|---:|
| transposed | 121 | 96 |
<!-- end -->
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verify.md"
COLUMNS = {"tf": "TF", "flax": "Flax"}
NONE = "-"
END = "<!-- end -->"


def documented(name: str, naming: str) -> dict[str, str]:
    """Return what a table says of a framework: kind of fault -> cell. Kinds that it does not have are left out."""
    at = 1 + list(COLUMNS).index(naming)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in _body(name)]
    return {row[0]: row[at] for row in rows if row[at] != NONE}


def agree(name: str, naming: str, counts: Mapping[str, object]) -> None:
    """Require that a table says the same; where CKPTCONV_WRITE is set, write it first."""
    result = {kind: str(count) for kind, count in counts.items()}
    if os.environ.get("CKPTCONV_WRITE"):
        _write(
            name,
            {
                column: result if column == naming else documented(name, column)
                for column in COLUMNS
            },
        )
    assert documented(name, naming) == result


def _begin(name: str) -> str:
    return f"<!-- faults {name} -->"


def _body(name: str) -> list[str]:
    """Return a table's rows."""
    table = PAGE.read_text().partition(_begin(name))[2].partition(END)[0]
    return table.strip().splitlines()[2:]


def _write(name: str, cells: Mapping[str, Mapping[str, str]]) -> None:
    kinds = dict.fromkeys(kind for some in cells.values() for kind in some)
    rows = [[kind, *(cells[column].get(kind, NONE) for column in COLUMNS)] for kind in kinds]
    lines = [["fault", *COLUMNS.values()], ["---", *("---:" for _ in COLUMNS)], *rows]
    table = "\n".join(
        "|" + "|".join(f" {cell} " if "--" not in cell else cell for cell in line) + "|"
        for line in lines
    )
    put(_begin(name), table)


def put(begin: str, table: str) -> None:
    """Write a table between the line `begin` and the next end."""
    before, _, rest = PAGE.read_text().partition(begin)
    assert rest, f"docs/verify.md has no {begin}"
    PAGE.write_text(f"{before}{begin}\n{table}\n{END}{rest.partition(END)[2]}")
