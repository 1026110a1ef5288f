"""The file of results: a section a benchmark, each written in the place of its last one."""

from __future__ import annotations

import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def record(heading: str, text: str, results: Path = RESULTS) -> None:
    """Write a section below its heading, such as `## verify`; all others stay as they are."""
    sections = re.split(r"^(?=## )", results.read_text(), flags=re.MULTILINE)
    section = f"{heading}\n\n{text.strip()}\n"
    kept = [part.rstrip() + "\n" for part in sections]
    places = [place for place, part in enumerate(kept) if part.startswith(f"{heading}\n")]
    if places:
        kept[places[0]] = section
    else:
        kept.append(section)
    results.write_text("\n".join(kept))
