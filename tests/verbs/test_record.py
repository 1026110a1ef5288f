"""`record`, and `verify` against what it wrote: the verdict of a run with both at hand, without the source."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ckptconv
from ckptconv.base.errors import Problem
from ckptconv.run.trace import read_trace, write_trace
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.record import compare_digests, open_trace
from ckptconv.verbs.verify import verify
from tracing import made_up

if TYPE_CHECKING:
    from conftest import Pair

ROOT = Path(__file__).parents[2]
NO_PYTORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors", "transformers"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from ckptconv.cli.main import main
main()
"""


@pytest.fixture
def traced(pair: Pair, tmp_path: Path) -> tuple[Path, Path]:
    """Return a trace of a pair, and a faithful Flax checkpoint of it."""
    trace, _ = made_up(pair, tmp_path / "source")
    write_trace(tmp_path / "a.trace", trace)
    ckptconv.pt2flax(tmp_path / "source", tmp_path / "flax", "safetensors")
    return tmp_path / "a.trace", tmp_path / "flax"


def test_weights_by_their_digests(traced: tuple[Path, Path]) -> None:
    """Every tensor is put back into PyTorch's spelling, healed tables too, and has the digest that was recorded."""
    trace, flax = traced
    verdict = verify(trace, flax, "weights")
    assert (verdict.matches, verdict.outputs, verdict.weights.problems, verdict.config) == (
        True,
        None,
        (),
        (),
    )
    assert (verdict.source, verdict.source_naming, verdict.naming) == (trace, "pytorch", "flax")
    assert verdict.weights.tensors == len(read_trace(trace).weights)


def test_every_kind_of_difference(traced: tuple[Path, Path]) -> None:
    """One bit, and a tensor that is missing or left over, are named as the target spells them."""
    trace, flax = traced
    file = flax / "model.safetensors"
    arrays = load_file(file)
    name = "decoder.bert.encoder.layer.1.crossattention.output.LayerNorm.scale"
    arrays[name].view(np.uint32)[3] ^= 1
    save_file(arrays, file, {"format": "flax"})
    verdict = verify(trace, flax, "weights")
    assert verdict.weights.problems == (
        Problem("not equal", name.replace(".", "/"), "another sha256"),
    )
    assert (verdict.matches, verdict.where is None) == (False, False)
    arrays["stray"] = arrays.pop(name)
    save_file(arrays, file, {"format": "flax"})
    missing = verify(trace, flax, "weights").weights
    assert [(problem.kind, problem.name) for problem in missing.problems] == [
        ("missing", name.replace(".", "/")),
        ("unexpected", "stray"),
    ]
    assert not missing.matches


def test_casts_are_compared_with_the_recorded_cast(
    traced: tuple[Path, Path], tmp_path: Path
) -> None:
    """A target in bfloat16 matches the bfloat16 digests, and that is said."""
    ckptconv.pt2tf(
        tmp_path / "source",
        tmp_path / "half",
        "safetensors",
        ckptconv.WriteOptions(dtype="bfloat16"),
    )
    trace, composition = open_trace(traced[0])
    comparison = compare_digests(trace, composition, open_checkpoint(tmp_path / "half"))
    assert (comparison.problems, len(comparison.notices)) == ((), 1)
    assert comparison.notices[0].startswith("stored as bfloat16 where the source has float32")


@pytest.mark.thorough
def test_without_pytorch(traced: tuple[Path, Path]) -> None:
    """Neither PyTorch nor any library of its world is needed to read a trace."""
    command = [
        sys.executable,
        "-c",
        NO_PYTORCH,
        "verify",
        "--level",
        "weights",
        "--trace",
        *map(str, traced),
    ]
    process = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(
        "MATCH: bert -> bert, flax safetensors against PyTorch, weights\n"
    )


@pytest.mark.frameworks
def test_the_verdict_is_that_of_a_run_with_both(
    dates: Path, converted_tf: Path, tmp_path: Path
) -> None:
    """The same quantities with the same ratios; a source moved away changes nothing; and coverage is in it."""
    sentences = tmp_path / "dates.jsonl"
    sentences.write_text('{"text": "the 3rd of March, 1998", "target": "1998-03-03"}\n')
    asked: dict[str, Any] = {"texts": ["3 May 1999"], "inputs": sentences}
    made = ckptconv.record(dates, tmp_path / "a.trace", **asked, timeout=600)
    assert (made.pair, made.tensors, made.nbytes) == (
        "bert -> bert",
        101,
        (tmp_path / "a.trace").stat().st_size,
    )
    by_trace = verify(tmp_path / "a.trace", converted_tf, timeout=600)
    direct = verify(dates, converted_tf, **asked, min_coverage=97, timeout=600)
    assert (by_trace.matches, direct.matches, direct.covers) == (True, True, True)
    first, second = by_trace.outputs, direct.outputs
    assert first is not None
    assert second is not None
    assert [(each.probe, each.name, each.kind) for each in first.quantities] == [
        (each.probe, each.name, each.kind) for each in second.quantities
    ]
    assert first.texts == second.texts == (("3 May 1999", "1999-05-03", "1999-05-03"),)
    assert first.generations == second.generations
    assert first.coverage == second.coverage
    assert second.coverage is not None
    assert 97 < second.coverage.percent < 98
    assert first.notices == second.notices
    assert sum(each.numel for each in second.coverage.tensors) == second.coverage.numel == 414_766
