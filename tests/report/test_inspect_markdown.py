"""`inspect --format markdown`: tables and lists that no name can break."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ckptconv
from ckptconv.report.inspect import inspection_markdown

if TYPE_CHECKING:
    from conftest import Pair

DATES = """\
## dates

|  |  |
| --- | --- |
| model | bert -\\> bert |
| encoder | bert, 2 layers, hidden 96, 4 heads, vocabulary 46 |
| decoder | bert, 2 layers, hidden 96, 4 heads, vocabulary 46 |
| weights | pytorch safetensors, model.safetensors, 1.7 MB |
| parameters | 414,766 in 101 tensors |
| size | 1.7 MB, float32 |
| saved by | transformers 4.57.6 |

| part | tensors | parameters | size | share |
| --- | --: | --: | --: | --: |
| encoder | 39 | 169,824 | 679.3 kB | 40.9% |
| decoder | 37 | 160,512 | 642.0 kB | 38.7% |
| cross-attention | 20 | 74,880 | 299.5 kB | 18.1% |
| head | 5 | 9,550 | 38.2 kB | 2.3% |

- tied: decoder.cls.predictions.decoder.weight repeats decoder.bert.embeddings.word\\_embeddings.weight (stored once)
- tied: decoder.cls.predictions.decoder.bias repeats decoder.cls.predictions.bias (stored once)

| would convert |  |
| --- | --- |
| split | yes |
| normalize | yes |
| pt2tf | yes |
| pt2flax | yes; encoder.embeddings.token\\_type\\_embeddings: row 0 repeated 64 times, since \\`encode\\` passes \
positions as token types; if this model is trained further in Flax, \\`flax2pt --take-trained-row\\` is the way back |

| tensor | part | dtype | shape |
| --- | --- | --- | --- |
| encoder.pooler.dense.bias | encoder | float32 | 96 |

complete: every tensor is one that the config asks for, and none is missing"""


def test_the_trained_checkpoint(dates: Path) -> None:
    """The whole page of a checkpoint that has nothing wrong."""
    assert inspection_markdown(ckptconv.inspect(dates), tensors="*pooler*bias") == DATES


def test_names_break_nothing(pair: Pair, tmp_path: Path) -> None:
    """A name cannot end a cell, begin a link or a tag, or steer a terminal; problems are a list."""
    pair.config["transformers_version"] = "4|\n\x1b"
    pair.arrays["a|[b](c)<i>"] = np.ones(2, np.float32)
    text = inspection_markdown(
        ckptconv.inspect(pair.write(tmp_path / "source"), stats=True), tensors="a*"
    )
    name = "a\\|\\[b\\](c)\\<i\\>"
    assert "| saved by | transformers 4\\| \\\\x1b |" in text
    assert text.splitlines()[-3:] == [
        "not convertible: 1 problem",
        "",
        f"- unexpected  {name}: float32 \\[2\\]",
    ]
    header, _, row = text.splitlines()[-7:-4]
    assert header.endswith("| zeros | NaN | Inf | signs |")
    assert row == f"| {name} | unknown | float32 | 2 | 1 | 1 | 1 | 0 | 0 | 0 | 0 | constant |"
