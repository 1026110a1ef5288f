"""`inspect --stats`: what looks wrong in the values, and what headers could not decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ckptconv
from ckptconv.verbs.inspect import Inspection, ValueFinding

if TYPE_CHECKING:
    from conftest import MakePair, Pair

WORDS, OUTPUT = (
    "decoder.bert.embeddings.word_embeddings.weight",
    "decoder.cls.predictions.decoder.weight",
)
LAYER = "decoder.bert.encoder.layer.0.crossattention"


def stats(folder: Path) -> Inspection:
    """Return an inspection with values."""
    return ckptconv.inspect(folder, stats=True)


def test_a_random_model_has_no_findings(pair: Pair, tmp_path: Path) -> None:
    """Figures stand beside every tensor, and are those of the tensor of that name; nothing is flagged."""
    inspection = stats(pair.write(tmp_path / "source"))
    assert (inspection.measured, inspection.findings) == (True, ())
    for line in inspection.tensors:
        assert line.statistics is not None
        assert line.signs == ()
        assert line.statistics.maximum == pair.arrays[line.spec.name].max()


def test_without_stats_nothing_is_said(pair: Pair, tmp_path: Path) -> None:
    """Headers alone give neither figures nor findings."""
    inspection = ckptconv.inspect(pair.write(tmp_path / "source"))
    assert (
        inspection.measured,
        inspection.findings,
        {line.statistics for line in inspection.tensors},
    ) == (
        False,
        (),
        {None},
    )


def test_findings(pair: Pair, tmp_path: Path) -> None:
    """What is not finite comes first, then what is new, duplicated and constant; each tensor bears its signs."""
    rng = np.random.default_rng(2)
    for name, array in pair.arrays.items():
        if "crossattention" in name:
            gain = float("LayerNorm.weight" in name)
            drawn = (
                rng.normal(0, 0.02, array.shape) if array.ndim == 2 else np.full(array.shape, gain)
            )
            pair.arrays[name] = drawn.astype(np.float32)
    pair.arrays["encoder.pooler.dense.bias"][:2] = np.nan, np.inf
    pair.arrays["encoder.embeddings.LayerNorm.bias"][:] = 2.5
    twins = [f"encoder.encoder.layer.{n}.output.dense.bias" for n in (0, 1)]
    pair.arrays[twins[1]] = pair.arrays[twins[0]]
    inspection = stats(pair.write(tmp_path / "source"))
    cross = tuple(name for name in pair.arrays if "crossattention" in name)
    assert [
        (finding.sign, set(finding.tensors), finding.text) for finding in inspection.findings
    ] == [
        (
            "not finite",
            {"encoder.pooler.dense.bias"},
            "encoder.pooler.dense.bias: 1 NaN, 1 infinite",
        ),
        (
            "new",
            set(cross),
            "cross-attention: all of it looks newly initialised (biases 0, weights as from N(0, 0.02));"
            " train it before use",
        ),
        ("duplicated", set(twins), f"{twins[0]} and {twins[1]} hold the same bytes"),
        (
            "constant",
            {"encoder.embeddings.LayerNorm.bias"},
            "encoder.embeddings.LayerNorm.bias: every element is 2.5",
        ),
    ]
    assert {line.spec.name: line.signs for line in inspection.tensors if line.signs} == {
        name: (finding.sign,) for finding in inspection.findings for name in finding.tensors
    }


def test_part_of_a_part_is_new(pair: Pair, tmp_path: Path) -> None:
    """Where some layers were trained, the others are counted and named."""
    rng = np.random.default_rng(3)
    for name in (f"{LAYER}.self.query", f"{LAYER}.self.key", f"{LAYER}.output.dense"):
        pair.arrays[f"{name}.weight"] = rng.normal(0, 0.02, (7, 7)).astype(np.float32)
        pair.arrays[f"{name}.bias"][:] = 0
    (result,) = stats(pair.write(tmp_path / "source")).findings
    assert result == ValueFinding(
        "new",
        tuple(
            f"{LAYER}.{name}.{role}"
            for name in ("self.query", "self.key", "output.dense")
            for role in ("weight", "bias")
        ),
        "cross-attention: 3 of 8 layers look newly initialised (biases 0, weights as from N(0, 0.02)): "
        f"{LAYER}.self.query, {LAYER}.self.key and 1 more",
    )


def test_broken_ties(pair: Pair, tmp_path: Path) -> None:
    """A tie that is stored twice is equal, or broken, and then no verb would take it."""
    pair.arrays[OUTPUT] = pair.arrays[WORDS].copy()
    inspection = stats(pair.write(tmp_path / "equal"))
    assert [(tie.difference, tie.broken) for tie in inspection.ties] == [("", False), (None, False)]
    assert (all(target.converts for target in inspection.targets), inspection.findings) == (
        True,
        (),
    )
    pair.arrays[OUTPUT][3, 2] += 1
    inspection = stats(pair.write(tmp_path / "broken"))
    assert [tie.broken for tie in inspection.ties] == [True, False]
    assert str(inspection.ties[0].difference).startswith("1 of 203 elements differ, by at most 1, ")
    assert {target.refusal for target in inspection.targets} == {
        f"not equal: {OUTPUT}: {inspection.ties[0].difference}"
    }


def test_conditions_are_decided(make_pair: MakePair, tmp_path: Path) -> None:
    """An untied head that TF's classes have no place for is compared with the embeddings."""
    pair = make_pair(dec={"tie_word_embeddings": False})
    targets = {target.verb: target for target in stats(pair.write(tmp_path / "other")).targets}
    assert [verb for verb, one in targets.items() if not one.converts] == ["pt2tf"]
    assert targets["pt2tf"].refusal.startswith(f"cannot hold: {OUTPUT}: 203 of 203 elements differ")
    pair.arrays[OUTPUT] = pair.arrays[WORDS]
    result = stats(pair.write(tmp_path / "same"))
    assert [(target.refusal, target.conditions) for target in result.targets] == [("", ())] * 4


def test_a_healed_checkpoint(pair: Pair, tmp_path: Path) -> None:
    """Rows that a healing repeated are compared too, and are no finding."""
    ckptconv.pt2flax(pair.write(tmp_path / "source"), tmp_path / "flax")
    inspection = stats(tmp_path / "flax")
    assert (
        [(target.verb, target.refusal, target.conditions) for target in inspection.targets],
        inspection.findings,
    ) == (
        [("flax2pt", "", ())],
        (),
    )
