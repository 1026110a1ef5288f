"""`values`: what is not finite or is lost is counted for each tensor, said, refused or allowed; bits are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

import ckptconv
from ckptconv import PlanError, WriteOptions
from ckptconv.transfer.casting import Counts, TensorValues, value_notices

if TYPE_CHECKING:
    from conftest import Cli, Pair

WORDS, BIAS = "encoder.embeddings.word_embeddings.weight", "decoder.cls.predictions.bias"
NAN = np.array(
    [0x7FC00000, 0xFFC00001, 0x7F800001, 0x7FFFFFFF, 0xFF800000, 0x7F800000], np.uint32
).view(np.float32)
"""Four NaNs, each with a payload of its own, and both infinities."""


def infect(pair: Pair) -> None:
    """Put values that are not finite into two tensors."""
    pair.arrays[WORDS].reshape(-1)[10:16] = NAN
    pair.arrays[BIAS][3] = np.nan


@pytest.mark.parametrize("verb", [ckptconv.normalize, ckptconv.pt2flax, ckptconv.pt2tf])
def test_nan_and_infinities_are_kept_and_said(pair: Pair, tmp_path: Path, verb: object) -> None:
    """Every bit of them travels, payloads too, through any format and back; a notice counts them for each tensor."""
    infect(pair)
    source = pair.write(tmp_path / "a")
    back = {
        ckptconv.pt2flax: ckptconv.flax2pt,
        ckptconv.pt2tf: ckptconv.tf2pt,
        ckptconv.normalize: ckptconv.normalize,
    }
    for result in (verb(source, tmp_path / "b"), back[verb](tmp_path / "b", tmp_path / "c")):  # type: ignore[operator]
        notices = [notice for notice in result.notices if "source holds" in notice]
        assert [notice.split(":")[0] for notice in notices] == [
            "the source holds 5 NaN values, kept",
            "the source holds 2 infinite values, kept",
        ]
        assert "(4 of 161), " in notices[0]
        assert "(2 of 161)" in notices[1]
        assert [value.counts for value in result.values] == [
            Counts(nan=4, infinite=2),
            Counts(nan=1),
        ]
    arrays = load_file(tmp_path / "c" / "model.safetensors")
    assert all(arrays[name].tobytes() == pair.arrays[name].tobytes() for name in (WORDS, BIAS))


def test_a_cast_that_overflows_is_refused(pair: Pair, tmp_path: Path) -> None:
    """Every tensor in which a number would become infinite, at once; what was infinite already is none."""
    infect(pair)
    pair.arrays[WORDS][0, :3] = 1e6, -65520, 65504
    pair.arrays[BIAS][:2] = 7e4
    source = pair.write(tmp_path / "a")
    with pytest.raises(PlanError) as refusal:
        ckptconv.normalize(source, tmp_path / "b", WriteOptions(dtype="float16"))
    assert str(refusal.value) == (
        f"{source}/model.safetensors: cast to float16: 2 problems\n"
        f"  values      {BIAS}: 2 of 29 become infinite\n  values      {WORDS}: 2 of 161 become infinite\n"
        "Choose a wider --dtype (bfloat16 has float32's range), or --allow-overflow to write infinities."
    )
    assert list(tmp_path.iterdir()) == [source]


def test_a_cast_that_may_overflow(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    """With --allow-overflow it is done and said, with what became zero and subnormal; --json has every tensor."""
    pair.arrays[WORDS].reshape(-1)[:6] = 1e6, -65520, 1e-9, -1e-30, 1e-6, 0
    pair.arrays[BIAS][:2] = 7e4, 3e-8
    source = pair.write(tmp_path / "a")
    outcome = cli(
        "normalize", source, tmp_path / "b", "--dtype", "float16", "--allow-overflow", "--json"
    )
    values = pair.arrays[WORDS], pair.arrays[BIAS]
    assert outcome.code == 0
    notes = [line for line in outcome.err.splitlines() if "cast to" in line]
    assert notes[:2] == [
        f"note: cast to float16: 3 finite values became infinite: {WORDS} (2 of 161), {BIAS} (1 of 29)",
        f"note: cast to float16: 2 values became zero: {WORDS} (2 of 161)",
    ]
    document = json.loads(outcome.out)
    assert document["notices"] == [note.removeprefix("note: ") for note in notes]
    assert {
        item["tensor"]: (item["overflowed"], item["zeroed"])
        for item in document["values"]
        if item["overflowed"]
    } == {WORDS: (2, 2), BIAS: (1, 0)}
    written = load_file(tmp_path / "b" / "model.safetensors")
    with np.errstate(over="ignore"):
        assert [written[name].tobytes() for name in (WORDS, BIAS)] == [
            value.astype("f2").tobytes() for value in values
        ]
    assert ckptconv.verify(source, tmp_path / "b", "weights").matches
    assert json.loads((tmp_path / "b" / "ckptconv.json").read_text())["options"]["allow_overflow"]


def test_split_says_it_too(pair: Pair, tmp_path: Path) -> None:
    """The parts' values are counted together, and refused alike."""
    infect(pair)
    source = pair.write(tmp_path / "a")
    result = ckptconv.split(source, tmp_path / "b")
    assert [(value.name, value.counts) for value in result.values] == [
        (WORDS, Counts(nan=4, infinite=2)),
        (BIAS, Counts(nan=1)),
    ]
    assert len(result.notices) == 2
    pair.arrays[BIAS][0] = 1e9
    with pytest.raises(PlanError, match="1 of 29 become infinite"):
        ckptconv.split(pair.write(tmp_path / "c"), tmp_path / "d", WriteOptions(dtype="float16"))
    assert not (tmp_path / "d").exists()
    options = WriteOptions(dtype="float16", allow_overflow=True)
    assert "1 finite value became infinite" in " ".join(
        ckptconv.split(tmp_path / "c", tmp_path / "d", options).notices
    )


def test_finite_values_are_not_worth_a_word(pair: Pair, tmp_path: Path) -> None:
    """Nothing is said of a plain conversion, nor of a cast that loses nothing but by rounding."""
    source = pair.write(tmp_path / "a")
    for dtype in ("keep", "bfloat16"):
        result = ckptconv.normalize(source, tmp_path / dtype, WriteOptions(dtype=dtype))  # type: ignore[arg-type]
        assert (result.notices, result.values) == ((), ())


def test_notices() -> None:
    """One sentence for each kind: the total, the worst tensors first, and how many more."""
    result = [
        TensorValues(f"t{n}", "float32", "float16", 1000, Counts(zeroed=n, overflowed=n == 7))
        for n in range(8)
    ]
    assert list(value_notices(result)) == [
        "cast to float16: 1 finite value became infinite: t7 (1 of 1,000)",
        "cast to float16: 28 values became zero: t7 (7 of 1,000), t6 (6 of 1,000), t5 (5 of 1,000), t4 (4 of 1,000),"
        " t3 (3 of 1,000), 2 more",
    ]
    assert list(value_notices([TensorValues("t", "float32", "float32", 9, Counts(nan=1))])) == [
        "the source holds 1 NaN value, kept: t (1 of 9)"
    ]
