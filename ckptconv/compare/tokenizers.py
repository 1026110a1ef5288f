"""Are the tokenizers beside two checkpoints the same files? With other tokens the same text gets another answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ckptconv.base.files import open_source
from ckptconv.stores.companions import TOKENIZER

BLOCK_BYTES = 1 << 20


def tokenizer_notices(first: Path, second: Path, names: tuple[str, str]) -> Iterator[str]:
    """Say in one sentence which files of the tokenizers differ, or which side lacks them; nothing where none does.

    Args: names: what to call the two checkpoints, such as "the source" and "the target".
    Raises: SourceError: a file cannot be read, or is a link that leads out of its checkpoint.
    """
    changed: list[str] = []
    alone: dict[str, list[str]] = {name: [] for name in names}
    for file in TOKENIZER:
        there = [os.path.lexists(folder / file) for folder in (first, second)]
        if all(there):
            if not _equal(first / file, second / file):
                changed.append(file)
        elif any(there):
            alone[names[there.index(True)]].append(file)
    reasons = (
        [f"{', '.join(changed)} differ" + ("s" if len(changed) == 1 else "")] if changed else []
    )
    reasons += [f"only {name} has {', '.join(files)}" for name, files in alone.items() if files]
    if reasons:
        yield f"the tokenizers are not the same files: {'; '.join(reasons)}"


def _equal(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same bytes."""
    with (
        os.fdopen(open_source(first), "rb") as left_file,
        os.fdopen(open_source(second), "rb") as right_file,
    ):
        if os.fstat(left_file.fileno()).st_size != os.fstat(right_file.fileno()).st_size:
            return False
        blocks = iter(
            lambda: (left_file.read(BLOCK_BYTES), right_file.read(BLOCK_BYTES)), (b"", b"")
        )
        return all(left == right for left, right in blocks)
