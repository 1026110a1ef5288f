"""The command line where it only reads: whole output and exit code of `inspect` and of `verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Cli, Pair

SUMMARY = """\
model       bert -> bert
encoder     bert, 2 layers, hidden 96, 4 heads, vocabulary 46
decoder     bert, 2 layers, hidden 96, 4 heads, vocabulary 46
weights     pytorch safetensors, model.safetensors, 1.7 MB
parameters  414,766 in 101 tensors
size        1.7 MB, float32
saved by    transformers 4.57.6

part               tensors    parameters      size    share
---------------  ---------  ------------  --------  -------
encoder                 39       169,824  679.3 kB    40.9%
decoder                 37       160,512  642.0 kB    38.7%
cross-attention         20        74,880  299.5 kB    18.1%
head                     5         9,550   38.2 kB     2.3%

tied: decoder.cls.predictions.decoder.weight repeats decoder.bert.embeddings.word_embeddings.weight
      (stored once)
tied: decoder.cls.predictions.decoder.bias repeats decoder.cls.predictions.bias (stored once)

"""
COMPLETE = """would convert:
  split      yes
  normalize  yes
  pt2tf      yes
  pt2flax    yes; encoder.embeddings.token_type_embeddings: row 0 repeated 64 times, since `encode`
             passes positions as token types; if this model is trained further in Flax, `flax2pt
             --take-trained-row` is the way back

complete: every tensor is one that the config asks for, and none is missing
"""


def test_inspect(run: Cli, dates: Path) -> None:
    """The summary names the pair, the parts, the ties, who would take it and the verdict."""
    outcome = run("inspect", dates)
    assert (outcome.code, outcome.out, outcome.err) == (0, SUMMARY + COMPLETE, "")


def test_inspect_tensors(cli: Cli, dates: Path) -> None:
    """`--tensors` adds one line for each tensor, sorted, between summary and verdict."""
    outcome = cli("inspect", dates, "--tensors")
    head, _, rest = outcome.out.partition(SUMMARY)
    assert (outcome.code, outcome.err, head, rest[-len(COMPLETE) :]) == (0, "", "", COMPLETE)
    titles, _, *rows = [line.split() for line in rest.removesuffix(COMPLETE).splitlines()[:-1]]
    assert titles == ["tensor", "part", "dtype", "shape"]
    assert (len(rows), rows) == (101, sorted(rows))
    assert rows[0] == ["decoder.bert.embeddings.LayerNorm.bias", "decoder", "float32", "96"]


def test_inspect_json(cli: Cli, converted_flax: Path) -> None:
    """`--json` has the same as numbers; a Flax checkpoint that was healed is complete."""
    outcome = cli("inspect", converted_flax, "--json")
    document = json.loads(outcome.out)
    tensors = document.pop("tensors")
    assert (outcome.code, outcome.err, len(tensors)) == (0, "", 101)
    assert {
        key: document[key]
        for key in ("pair", "dialect", "format", "files", "dtypes", "problems", "refusal")
    } == {
        "pair": "bert -> bert",
        "dialect": "flax",
        "format": "msgpack",
        "files": ["flax_model.msgpack"],
        "dtypes": ["float32"],
        "problems": [],
        "refusal": "",
    }
    assert (
        document["parameters"]
        == sum(part["parameters"] for part in document["parts"])
        == 414_766 + 63 * 96
    )


@pytest.mark.thorough
def test_verify_weights(run: Cli, dates: Path, converted_tf: Path) -> None:
    """The verdict is the last line, and exit code 0."""
    outcome = run("verify", dates, converted_tf, "--level", "weights")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "weights  101 tensors, 1.7 MB: identical to the source, bit for bit\n\n"
        "MATCH: bert -> bert, tf hdf5 against PyTorch, weights\n"
    )


def test_verify_weights_json(cli: Cli, dates: Path, converted_flax: Path) -> None:
    """The same for a machine; what was not asked for is null."""
    outcome = cli("verify", dates, converted_flax, "--level", "weights", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, document["verdict"], document["outputs"]) == (0, "match", None)
    assert document["weights"] == {
        "match": True,
        "tensors": 101,
        "bytes": 1_659_064 + 63 * 96 * 4,
        "differences": [],
        "problems": [],
    }


def test_verify_finds_another_checkpoint(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """One changed bias is a mismatch: exit code 1, and the tensor is named with how far it is off."""
    first = pair.write(tmp_path / "one")
    bias = pair.arrays["decoder.cls.predictions.bias"]
    change, spread = (
        f"[4] {bias[4]:.9g} -> {bias[4] + 0.25:.9g}",
        0.25 / float((bias.astype(float) ** 2).sum() ** 0.5),
    )
    bias[4] += 0.25
    copy = pair.write(tmp_path / "other")
    outcome = cli("verify", first, copy, "--level", "weights")
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out == (
        f"weights  1 of {len(pair.arrays)} tensors differ\n"
        "decoder.cls.predictions.bias\n"
        f"  1 element changed: {change}; 1 of 29 elements differ, {spread:.2g} of the RMS, by\n"
        "    at most 0.25\n\n"
        "MISMATCH: bert -> bert, pytorch safetensors against PyTorch, weights\n"
    )
    assert cli("verify", first, copy, "--level", "weights", "--quiet").out == ""
    (told,) = json.loads(cli("verify", first, copy, "--level", "weights", "--json").out)["weights"][
        "differences"
    ]
    assert {
        key: told[key] for key in ("name", "source", "kind", "differing", "elements", "worst")
    } == {
        "name": "decoder.cls.predictions.bias",
        "source": "decoder.cls.predictions.bias",
        "kind": "element",
        "differing": 1,
        "elements": 29,
        "worst": pytest.approx(0.25),
    }
