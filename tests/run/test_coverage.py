"""`coverage`: counts of the gradients, tensor by tensor of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptconv.run.forward import Coverage, TensorCoverage, coverage

if TYPE_CHECKING:
    from conftest import Pair

WORDS = "decoder.bert.embeddings.word_embeddings.weight"


def test_every_tensor_of_the_tables_once(pair: Pair) -> None:
    """A tied tensor is counted once, under the name it is tied to; what the class does not name is not reached."""
    pooler = "encoder.pooler.dense.weight"
    reached = {
        name: [array.size, len(array)]
        for name, array in pair.arrays.items()
        if not name.startswith(pooler)
    }
    reached[WORDS] = [21, 3]
    result = coverage(pair.rows, reached)
    assert result is not None
    assert {tensor.name for tensor in result.tensors} == set(pair.arrays)
    total = sum(array.size for array in pair.arrays.values())
    assert (result.numel, result.reached) == (total, total - 49 - (29 - 3) * 7)
    assert result.percent == 100 * result.reached / total
    assert result.unreached == (
        TensorCoverage(WORDS, 29 * 7, 21, 29, 3),
        TensorCoverage(pooler, 49, 0, 7, 0),
    )
    assert [item.evidence for item in result.unreached] == [
        "weights and outputs in part",
        "weights",
    ]


def test_not_measured() -> None:
    """Without gradients there is no coverage, which is not the same as none of it; of nothing, none is reached."""
    assert coverage((), {}) is None
    assert Coverage(()).percent == 0
    assert TensorCoverage("a", 5, 5, 5, 5).evidence == "weights and outputs"
