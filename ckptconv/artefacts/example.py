"""The example that lies beside an artefact: text in, text out, with the runtime and a tokenizer library alone.

A text of at most 40 lines for people to read and to take from. Knows no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptconv.artefacts.formats import ArtefactFormat
from ckptconv.base.presence import is_file

EXAMPLE = "run.py"

TOKENIZERS: Mapping[str, tuple[str, str]] = {
    "tokenizer.json": (
        "from tokenizers import Tokenizer",
        """
tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
tokenizer.no_padding()


def encode(text):
    return tokenizer.encode(text).ids


def decode(tokens):
    return tokenizer.decode(tokens, skip_special_tokens=True)
""",
    ),
    "source.spm": (
        "import json\n\nfrom sentencepiece import SentencePieceProcessor",
        """
source = SentencePieceProcessor(model_file=str(HERE / "source.spm"))
target = SentencePieceProcessor(model_file=str(HERE / "target.spm"))
IDS = json.loads((HERE / "vocab.json").read_text())
PIECES = {number: piece for piece, number in IDS.items()}


def encode(text):
    return [IDS.get(piece, IDS["<unk>"]) for piece in source.encode(text, out_type=str)] + [END]


def decode(tokens):
    return target.decode([PIECES[token] for token in tokens if token not in (PAD, START, END)])
""",
    ),
}
"""Tokenizer's file -> its import, and what reads texts and writes them."""
NUMBERS = (
    "",
    """

def encode(text):
    return [int(number) for number in text.split()]


def decode(tokens):
    return " ".join(map(str, tokens))
""",
)
"""Where no tokenizer is there: tokens as numbers."""

MAIN = """

rows = [encode(text) for text in sys.argv[1:]]
length = max(map(len, rows))
input_ids = np.array([row + [PAD] * (length - len(row)) for row in rows], np.int64)
attention_mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int64)
for answer in generate(input_ids, attention_mask):
    print(decode(answer.tolist()))
"""


def write_example(folder: Path, form: ArtefactFormat, record: Mapping[str, Any]) -> None:
    """Write the example, where the artefact generates from tokens. Raises OSError."""
    inputs = record["programs"]["encode"]["inputs"] if record["search"] else []
    if not form.example or "input_ids" not in [value["name"] for value in inputs]:
        return
    names = [name for name in TOKENIZERS if is_file(folder / name)]
    library, functions = TOKENIZERS[names[0]] if names else NUMBERS
    search, pad = record["search"], record["encoder_pad"] or 0
    ends = search["ends"] or [-1]
    (folder / EXAMPLE).write_text(
        f'"""Answer texts with {form.example.needs}: python {EXAMPLE} "a text" "another"."""\n\n'
        "import sys\nfrom pathlib import Path\n\nimport numpy as np\n"
        f"{form.example.imports}\n{library}\n\nHERE = Path(__file__).parent\n"
        f"PAD, START, END = {pad}, {search['start']}, {ends[0]}\n{functions}\n\n{form.example.generate}{MAIN}"
    )
