"""`where`: at most a dozen lines of text, and JSON with everything."""

from __future__ import annotations

import json
from dataclasses import replace

from ckptconv.compare.comparison import WeightDifference
from ckptconv.compare.configs import ConfigDifference
from ckptconv.compare.stream import Figures, Relation
from ckptconv.report.verify import MAX_LINES, cause_json, cause_text
from ckptconv.run.localization import Where, find_where
from run.test_where import EPSILON, EVERY, QUERY, ROWS, differing, quantity

OFF = [quantity("encoder.12", error=1e-3)]


def turned(key: str) -> WeightDifference:
    """Return a tensor that was not transposed."""
    figures = Figures(42, 49, 0.5, 1.0, 2.0, 0.1)
    return WeightDifference(
        f"tf/{key}", key, Relation("transposed", "transposed", figures), ROWS[key]
    )


def test_a_tensor_by_both_names() -> None:
    """What is to blame, the first quantity, the tensor in both spellings, and how it differs."""
    where = find_where(
        [turned(QUERY), *differing("decoder.transformer.ln_f.weight")], False, [], OFF, EVERY
    )
    assert cause_text(where) == (
        "cause: 1 of the 2 tensors that differ explains it\n"
        "  first output beyond its limit: full encoder.12 (output of encoder layer 11): error / PyTorch's\n"
        "    own: RMS 8.39e+03 (limit 4), max 8.39e+03 (limit 8)\n"
        f"  {QUERY}\n"
        f"    target: tf/{QUERY}\n"
        "    transposed"
    )
    assert cause_json(where) == {
        "verdict": "the weights",
        "equal_weights": False,
        "first": {
            "probe": "full",
            "name": "encoder.12",
            "rms_ratio": OFF[0].ratios[0],
            "max_ratio": OFF[0].ratios[1],
        },
        "tensors": [
            {
                "name": f"tf/{QUERY}",
                "source": QUERY,
                "kind": "transposed",
                "detail": "transposed",
                "differing": 42,
                "elements": 49,
                "worst": 0.5,
                "rms": 1.0,
                "reference_rms": 2.0,
                "relative": 0.5,
                "cosine": 0.1,
            }
        ],
        "later": 1,
        "config": [],
    }


def test_keys_of_the_config() -> None:
    """With equal weights the keys are told, and values that are long are cut; an escape steers no terminal."""
    strange = ConfigDifference("decoder.a\x1b[2J\nb", None, "x" * 40)
    where = find_where([], True, [EPSILON, strange])
    assert cause_text(where) == (
        "cause: 2 config keys differ; the weights are identical\n"
        "  encoder.layer_norm_eps: 1e-12 in the source, 0.001 in the target\n"
        f'  decoder.a\\x1b[2J\\nb: not set in the source, "{"x" * 20}... in the target'
    )
    assert cause_json(where) == {
        "verdict": "every weight is right, so it is the config",
        "equal_weights": True,
        "first": None,
        "tensors": [],
        "later": 0,
        "config": [
            {"key": "encoder.layer_norm_eps", "source": 1e-12, "target": 1e-3},
            {"key": "decoder.a\x1b[2J\nb", "source": None, "target": "x" * 40},
        ],
    }


def test_never_more_than_a_dozen_lines() -> None:
    """However many tensors and keys differ, the text fits; the JSON has them all."""
    keys = [replace(EPSILON, key=f"encoder.key_{number}") for number in range(9)]
    tensors = [turned(key) for key in ROWS if key.startswith("encoder.encoder.layer.0.")]
    for config in ([], keys[:1], keys):
        where: Where = find_where(tensors, False, config, OFF, EVERY)
        lines = cause_text(where).splitlines()
        assert MAX_LINES - 3 < len(lines) <= MAX_LINES
        assert max(map(len, lines)) <= 100
        assert lines[-1].startswith("  ... and ")
        found_json = json.loads(json.dumps(cause_json(where)))
        assert (len(found_json["tensors"]), len(found_json["config"])) == (
            len(tensors),
            len(config),
        )


def test_a_match_has_no_where() -> None:
    """There is nothing to trace back."""
    assert cause_json(None) is None
