"""How coverage is shown: the share, and the tensors of all layers in one line."""

from __future__ import annotations

from ckptconv.report.verify import coverage_json, coverage_text
from ckptconv.run.forward import Coverage, TensorCoverage

TENSORS = (
    TensorCoverage("encoder.pooler.weight", 9216, 0, 96, 0),
    TensorCoverage("encoder.words.weight", 4600, 4400, 46, 44),
    TensorCoverage("encoder.layer.0.key.bias", 96, 0, 96, 0),
    TensorCoverage("encoder.layer.1.key.bias", 96, 0, 96, 0),
    TensorCoverage("encoder.layer.0.mlp.weight", 100, 99, 10, 10),
    TensorCoverage("encoder.mask", 1, 0, 1, 0),
    TensorCoverage("decoder.weight", 1_000_000, 1_000_000, 1000, 1000),
)


def test_text() -> None:
    """The largest gaps first; whole rows are said as rows."""
    assert coverage_text(Coverage(TENSORS), 99.5) == (
        "coverage 99.05 % of 1,014,109 weights influence the outputs, less than the required 99.5 %\n"
        "  the remaining 0.95 % are covered by the weight comparison only:\n"
        "    encoder.pooler.weight  all 9,216 without influence\n"
        "    encoder.words.weight  2 of 46 rows without influence\n"
        "    encoder.layer.*.key.bias  all 192 without influence\n"
        "    ... and 2 more groups (--json lists every tensor)"
    )
    assert coverage_text(Coverage(TENSORS[4:6]), 50).splitlines()[2:] == [
        "    encoder.layer.*.mlp.weight  1 of 100 without influence",
        "    encoder.mask  without influence",
    ]
    assert (
        coverage_text(Coverage(TENSORS[6:]), 100)
        == "coverage 100 % of 1,000,000 weights influence the outputs"
    )


def test_all_but_one_is_not_all() -> None:
    """A share is never rounded up to all."""
    nearly = TensorCoverage("a", 10**9, 10**9 - 1, 10, 10)
    assert coverage_text(Coverage((nearly,)), None).startswith(
        "coverage 99.99 % of 1,000,000,000 weights"
    )


def test_json() -> None:
    """Every tensor, and which evidence stands for it."""
    assert coverage_json(None, 5) is None
    assert coverage_json(Coverage(TENSORS[:1]), 5) == {
        "percent": 0.0,
        "minimum": 5,
        "elements": 9216,
        "reached": 0,
        "tensors": [
            {
                "name": "encoder.pooler.weight",
                "elements": 9216,
                "reached": 0,
                "rows": 96,
                "rows_reached": 0,
                "evidence": "weights",
            }
        ],
    }
