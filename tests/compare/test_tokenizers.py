"""`tokenizers`: with other tokens the same text gets another answer, so files that differ are said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv

if TYPE_CHECKING:
    from conftest import Pair


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"tokenizer.json": "{}"}, "tokenizer.json differs"),
        ({"tokenizer.json": "{}", "vocab.txt": "b\na\n"}, "tokenizer.json, vocab.txt differ"),
        ({"tokenizer.json": None}, "only the source has tokenizer.json"),
        ({"merges.txt": "a b\n"}, "only the target has merges.txt"),
        ({"vocab.txt": None, "merges.txt": ""}, "only the source has vocab.txt; only the target"),
    ],
)
def test_a_note_and_no_difference(
    pair: Pair, tmp_path: Path, changes: dict[str, str | None], text: str
) -> None:
    """`verify` notes it and `diff` has a line; both still call the weights what they are."""
    pair.files |= {"tokenizer.json": '{"a": 0}', "vocab.txt": "a\nb\n"}
    source = pair.write(tmp_path / "source")
    target = tmp_path / "target"
    ckptconv.normalize(source, target)
    for name, content in changes.items():
        if content is None:
            (target / name).unlink()
        else:
            (target / name).write_text(content)
    verdict, difference = ckptconv.verify(source, target, "weights"), ckptconv.diff(source, target)
    assert verdict.matches
    notes = [note for note in verdict.weights.notices if "tokenizers" in note]
    lines = [note for note in difference.notices if "tokenizers" in note]
    assert len(notes) == len(lines) == bool(text)
    assert text in "".join(notes)
    assert text.replace("the source", "A").replace("the target", "B") in "".join(lines)
