"""What `inspect` prints: every line, its width, and what it does with strange names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptconv
from ckptconv.report.inspect import inspection_text
from ckptconv.report.text import PIPE, Screen, shortened
from ckptconv.verbs.inspect import Inspection

if TYPE_CHECKING:
    from conftest import MakePair, Pair

WORDS, OUTPUT = (
    "decoder.bert.embeddings.word_embeddings.weight",
    "decoder.cls.predictions.decoder.weight",
)
STATS = """\
tensor                     part     dtype    shape      min   max    mean    std    zeros    NaN    Inf  signs
-------------------------  -------  -------  -------  -----  ----  ------  -----  -------  -----  -----  ----------
encoder.pooler.dense.bias  encoder  float32  7         -1.5     2  -0.583   1.27        1      1      0  not finite
stray                      unknown  float16  scalar    2.25  2.25    2.25      0        0      0      0"""


def blocks(result: Inspection, **options: object) -> list[str]:
    """Return the text between empty lines."""
    return inspection_text(result, **options).split("\n\n")  # type: ignore[arg-type]


@pytest.fixture
def planted(pair: Pair, tmp_path: Path) -> Inspection:
    """Return a pair with a NaN, a broken tie, a stranger, a code hook and a layer that is missing."""
    pair.arrays["encoder.pooler.dense.bias"] = np.array(
        [np.nan, -1.5, -1.5, 0, -1.5, 2, -1], np.float32
    )
    pair.arrays["stray"] = np.array(2.25, np.float16)
    pair.arrays[OUTPUT] = pair.arrays[WORDS] + 1
    pair.config["auto_map"] = {}
    del pair.config["transformers_version"]
    return ckptconv.inspect(pair.write(tmp_path / "source"), stats=True)


def test_everything_planted(planted: Inspection) -> None:
    """Facts, parts, notes, tensors, verbs and the verdict stand in this order, whole."""
    facts, parts, notes, _, targets, state = blocks(planted)
    assert facts.splitlines() == [
        "model       bert -> bert",
        "encoder     bert, 2 layers, hidden 7, 12 heads, vocabulary 23",
        "decoder     bert, 2 layers, hidden 7, 12 heads, vocabulary 29",
        f"weights     pytorch safetensors, model.safetensors, {planted.file_bytes / 1000:.1f} kB",
        f"parameters  {planted.parameters:,} in {len(planted.tensors)} tensors",
        f"size        {planted.nbytes / 1000:.1f} kB, float16, float32",
        "saved by    unknown",
    ]
    assert [line.split()[:2] for line in parts.splitlines()[2:]] == [
        ["encoder", "39"],
        ["decoder", "37"],
        ["cross-attention", "20"],
        ["head", "6"],
        ["unknown", "1"],
    ]
    assert notes.startswith(
        f"tied: {OUTPUT} repeats {WORDS}\n      (BROKEN: stored twice, 203 of 203 elements differ, "
    )
    assert notes.splitlines()[-2:] == [
        "code: config.json: auto_map (ckptconv never runs it)",
        "not finite: encoder.pooler.dense.bias: 1 NaN, 0 infinite",
    ]
    answers = [
        f"  {verb:<11}no: 1 problem with its tensors"
        for verb in ("split", "normalize", "pt2tf", "pt2flax")
    ]
    assert targets.splitlines() == ["would convert:", *answers]
    assert state == "not convertible: 1 problem\n  unexpected  stray: float16 []"


def test_figures(planted: Inspection) -> None:
    """With values read, every tensor that a glob matches has its figures; all of them without a glob."""
    everything = blocks(planted)[3].splitlines()
    assert len(everything) == 2 + len(planted.tensors)
    lines = STATS.splitlines()
    wanted = [line.split() for line in lines[2:]]
    assert [
        line.split() for line in everything if line.split()[0] in (wanted[0][0], "stray")
    ] == wanted
    assert blocks(planted, tensors="stray")[3].splitlines()[2].split() == wanted[1]
    assert blocks(planted, tensors="nothing*")[3] == "no tensor's name matches 'nothing*'"


def test_lines_fit(make_pair: MakePair, tmp_path: Path) -> None:
    """Every line of the summary has at most 100 columns, with every note that there is, names included."""
    pair = make_pair(
        "roberta", "bert", enc={"hidden_act": "mish"}, dec={"tie_word_embeddings": False}
    )
    for name in list(pair.arrays):
        pair.arrays[name][:] = 0
    result = ckptconv.inspect(pair.write(tmp_path / "source"), stats=True)
    text = "\n\n".join(block for block in blocks(result) if not block.startswith("tensor "))
    assert max(map(len, text.splitlines())) <= PIPE.columns
    assert (
        f"... and {len(pair.arrays) - 5} more findings that say constant (--json lists them all)"
        in text
    )


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_terminal_of_any_width(planted: Inspection, width: int) -> None:
    """Tables give up columns, then the middle of names, until they fit; the first and last letters stay."""
    table = blocks(planted, screen=Screen(min(width, 100), width))[3].splitlines()
    assert max(map(len, table)) <= width
    assert len(table) == 2 + len(planted.tensors)
    assert (table[0].startswith("tensor"), table[0].endswith("signs")) == (True, True)
    assert all(line.startswith(("enc", "dec", "str")) for line in table[2:])


def test_without_a_terminal_names_are_whole(planted: Inspection) -> None:
    """Piped text has every name in full."""
    text = inspection_text(planted)
    assert [line.spec.name for line in planted.tensors if line.spec.name not in text] == []


@pytest.mark.parametrize(
    ("room", "short"), [(26, "abcdefghijklmnopqrstuvwxyz"), (12, "abc...uvwxyz"), (9, "ab...wxyz")]
)
def test_shortened(room: int, short: str) -> None:
    """The middle goes, and the end, which tells bias from weight, keeps most."""
    assert shortened("abcdefghijklmnopqrstuvwxyz", room) == short


def test_names_cannot_steer_a_terminal(pair: Pair, tmp_path: Path) -> None:
    """Control characters in a config are escaped; a reader refuses names that have some."""
    pair.config["transformers_version"] = "\x1b]0;"
    result = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert "\x1b" not in inspection_text(result, tensors="*")
