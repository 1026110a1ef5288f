"""`verify --level weights`: what is right matches, and each kind of fault is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import ckptconv
from ckptconv import PlanError, Problem, SourceError, WriteOptions
from ckptconv.verbs.verify import WeightsReport
from covering import covering

if TYPE_CHECKING:
    from conftest import MakePair, Pair

Arrays: TypeAlias = dict[str, NDArray[Any]]
QUERY = "encoder.encoder.layer.0.attention.self.query.kernel"
KEY = QUERY.replace("query", "key")


def changed(folder: Path, change: Callable[[Arrays], object]) -> Path:
    """Change the tensors of a Flax checkpoint in safetensors, with the reference library."""
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    save_file(arrays, folder / "model.safetensors", {"format": "flax"})
    return folder


@pytest.fixture
def both(pair: Pair, tmp_path: Path) -> tuple[Path, Path]:
    """Return a source and a faithful Flax checkpoint."""
    source = pair.write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax", "safetensors")
    return source, tmp_path / "flax"


FAMILIES = [("bert", "bert"), ("roberta", "gpt2"), ("gpt2", "roberta")]
WAYS = [
    ("pt2tf", "hdf5"),
    ("pt2tf", "safetensors"),
    ("pt2flax", "msgpack"),
    ("pt2flax", "safetensors"),
]


@pytest.mark.parametrize(
    ("families", "way", "dtype"), covering(FAMILIES, WAYS, ["keep", "float16", "bfloat16"])
)
def test_what_was_converted_matches(
    make_pair: MakePair, tmp_path: Path, families: tuple[str, str], way: tuple[str, str], dtype: Any
) -> None:
    """Every way of writing, with a bridge, healed where it must be, cast or not: every bit is right."""
    verb, form = way
    dec = {"n_embd": 5} if families[1] == "gpt2" else {"hidden_size": 5}
    source = make_pair(*families, dec=dec).write(tmp_path / "source")
    getattr(ckptconv, verb)(source, tmp_path / "out", form, WriteOptions(dtype=dtype))
    verdict = ckptconv.verify(source, tmp_path / "out", "weights")
    assert (
        verdict.matches,
        verdict.outputs,
        verdict.weights.differences,
        verdict.weights.problems,
    ) == (
        True,
        None,
        (),
        (),
    )
    assert (verdict.pair, verdict.format, verdict.weights.tensors) == (
        " -> ".join(families),
        form,
        len(ckptconv.inspect(tmp_path / "out").tensors),
    )
    stored = "float32" if (form, dtype) == ("hdf5", "bfloat16") else dtype
    notes = [note for note in verdict.weights.notices if note.startswith("stored as")]
    cast = f"stored as {stored} where the source has float32: compared with the cast of the source"
    assert notes == ([] if stored in ("keep", "float32") else [cast])


def test_one_changed_element(both: tuple[Path, Path]) -> None:
    """One element among thousands, in any tensor, is one difference: named, counted and measured."""
    source, flax = both
    name = "decoder.bert.encoder.layer.1.crossattention.output.LayerNorm.scale"

    def change(arrays: Arrays) -> None:
        arrays[name][3] += 0.5

    report = ckptconv.verify(source, changed(flax, change), "weights").weights
    (result,) = report.differences
    assert (result.relation.kind, str(result.figures)) == (
        "element",
        "1 of 7 elements differ, by at most 0.5",
    )
    assert (result.name, result.source) == (name.replace(".", "/"), name.replace("scale", "weight"))
    assert (report.problems, report.matches) == ((), False)


def test_the_last_bit(both: tuple[Path, Path]) -> None:
    """The last bit of one weight is enough, and so is the sign of a zero."""
    source, flax = both

    def change(arrays: Arrays) -> None:
        arrays[QUERY].view(np.uint32)[6, 6] ^= 1

    (result,) = ckptconv.verify(source, changed(flax, change), "weights").weights.differences
    assert (result.differing, result.numel, 0 < result.worst < 1e-6) == (1, 49, True)


def test_a_square_matrix_that_was_not_turned(both: tuple[Path, Path]) -> None:
    """All shapes are right and the values are not: all elements off the diagonal differ."""
    source, flax = both
    report = ckptconv.verify(
        source,
        changed(flax, lambda arrays: arrays.update({QUERY: arrays[QUERY].T.copy()})),
        "weights",
    ).weights
    (result,) = report.differences
    assert (result.name, result.differing, result.relation.kind) == (
        QUERY.replace(".", "/"),
        42,
        "transposed",
    )


def test_a_swapped_pair(both: tuple[Path, Path]) -> None:
    """Query and key exchanged: both are named."""
    source, flax = both
    report = ckptconv.verify(
        source,
        changed(flax, lambda arrays: arrays.update({QUERY: arrays[KEY], KEY: arrays[QUERY]})),
        "weights",
    ).weights
    query, key = QUERY.replace(".", "/"), KEY.replace(".", "/")
    names = {
        difference.name: (difference.differing, str(difference.relation))
        for difference in report.differences
    }
    assert names == {query: (49, f"swapped with {key}"), key: (49, f"swapped with {query}")}


def test_missing_unexpected_misshapen(both: tuple[Path, Path]) -> None:
    """Names and shapes that do not fit are problems, and never a match however equal the rest is."""
    source, flax = both
    bias = "decoder.cls.predictions.bias"

    def change(arrays: Arrays) -> None:
        arrays["stray"] = arrays.pop(bias)
        arrays[QUERY] = arrays[QUERY][:6].copy()
        arrays[KEY] = arrays[KEY].astype(np.int32)

    report = ckptconv.verify(source, changed(flax, change), "weights").weights
    assert report.problems == (
        Problem(
            "dtype",
            KEY.replace(".", "/"),
            "expected one of float64, float32, float16, bfloat16, found int32",
        ),
        Problem("missing", bias.replace(".", "/"), "expected [29]"),
        Problem("shape", QUERY.replace(".", "/"), "expected [7, 7] (in, out), found [6, 7]"),
        Problem("unexpected", "stray", "float32 [29]"),
    )
    assert (report.differences, report.matches) == ((), False)


def test_nothing_in_common_is_no_match(pair: Pair, both: tuple[Path, Path]) -> None:
    """Without a tensor to compare there is no match."""
    source, flax = both
    only = np.zeros(3, np.float32)
    report = ckptconv.verify(
        source, changed(flax, lambda arrays: (arrays.clear(), arrays.update(only=only))), "weights"
    ).weights
    assert (report.tensors, report.nbytes, report.matches) == (0, 0, False)
    assert len(report.problems) == len(pair.arrays) + 1
    assert not WeightsReport(0, 0, (), (), ()).matches


def test_a_healing_that_is_not_recorded(both: tuple[Path, Path]) -> None:
    """Without the record a healed table has another shape; with a wrong one the target is refused."""
    source, flax = both
    config = json.loads((flax / "config.json").read_text())
    record = config.pop("ckptconv")
    (flax / "config.json").write_text(json.dumps(config))
    (problem,) = ckptconv.verify(source, flax, "weights").weights.problems
    assert (problem.kind, problem.detail) == ("shape", "expected [3, 7] (row, dim), found [19, 7]")
    record["healed"][0]["repeated_row_0"] = 18
    (flax / "config.json").write_text(json.dumps({**config, "ckptconv": record}))
    with pytest.raises(SourceError, match=f"{flax}/config.json: ckptconv.healed names"):
        ckptconv.verify(source, flax, "weights")


def test_a_row_that_healing_repeats(both: tuple[Path, Path]) -> None:
    """Each of the repeated rows is compared."""
    source, flax = both
    name = "encoder.embeddings.token_type_embeddings.embedding"

    def change(arrays: Arrays) -> None:
        arrays[name][16] = arrays[name][17]

    (result,) = ckptconv.verify(source, changed(flax, change), "weights").weights.differences
    assert (result.name, result.differing, result.numel) == (name.replace(".", "/"), 7, 19 * 7)


def test_a_source_that_contradicts_itself(
    pair: Pair, both: tuple[Path, Path], tmp_path: Path
) -> None:
    """A source that is incomplete is refused: there is nothing to compare with."""
    del pair.arrays["decoder.cls.predictions.bias"]
    with pytest.raises(PlanError) as refusal:
        ckptconv.verify(pair.write(tmp_path / "broken"), both[1], "weights")
    assert refusal.value.problems == (
        Problem("missing", "decoder.cls.predictions.bias", "expected [29]"),
    )
