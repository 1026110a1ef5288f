"""`where`: from what is off to what is behind it."""

from __future__ import annotations

import pytest

from ckptconv.compare.comparison import WeightDifference
from ckptconv.compare.configs import ConfigDifference
from ckptconv.compare.stream import Relation
from ckptconv.run.localization import END, find_where, place
from ckptconv.run.yardstick import Difference, Quantity
from ckptconv.schema.tensors import SchemaTensor
from probing import pair

ROWS = {
    row.key: row
    for row in pair({"hidden_size": 24}, {"model_type": "gpt2", "n_embd": 36, "n_layer": 2}).tensors
}
NAMES = (
    "encoder.0",
    "encoder.1.attention",
    "encoder.1",
    "encoder.12",
    "encoder.last",
    "decoder.0",
    "decoder.1.attention",
    "decoder.1.cross",
    "decoder.1",
    "decoder.2",
    "logits",
    "loss",
)
QUERY = "encoder.encoder.layer.1.attention.self.query.weight"
LAST_NORM = "decoder.transformer.ln_f.weight"
POOLER = "encoder.pooler.dense.weight"
EPSILON = ConfigDifference("encoder.layer_norm_eps", 1e-12, 1e-3)


def quantity(name: str, probe: str = "full", error: float = 1e-7) -> Quantity:
    """Return a quantity whose yardstick is 1e-7."""
    own, target = (Difference(8, 8, size, (0,), size, 1.0, 1.0, 0) for size in (1e-7, error))
    return Quantity(probe, name, own, target, own, ("target",))


def differing(*keys: str) -> list[WeightDifference]:
    """Return tensors that differ."""
    return [
        WeightDifference(f"tf/{key}", key, Relation("changed", "changed"), ROWS[key])
        for key in keys
    ]


EVERY = [quantity(name) for name in NAMES]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("encoder.embeddings.LayerNorm.weight", (0, 0)),
        (QUERY, (0, 2)),
        (POOLER, (END, END)),
        ("enc_to_dec_proj.weight", (1, END)),
        ("decoder.transformer.wte.weight", (2, 0)),
        ("decoder.transformer.h.0.crossattention.q_attn.weight", (2, 1)),
        (LAST_NORM, (2, END)),
        ("decoder.lm_head.weight", (3, END)),
    ],
)
def test_every_tensor_has_its_place(key: str, expected: tuple[int, int]) -> None:
    """Part and layer, embeddings first; nothing comes after a pooler."""
    row: SchemaTensor = ROWS[key]
    assert place(row) == expected


@pytest.mark.parametrize(
    ("outside", "first"),
    [
        (["logits", "decoder.1", "encoder.12"], "encoder.12"),
        (["decoder.1", "decoder.1.cross"], "decoder.1.cross"),
        (["decoder.1.cross", "decoder.1.attention"], "decoder.1.attention"),
        (["loss", "encoder.last"], "encoder.last"),
    ],
)
def test_the_first_quantity(outside: list[str], first: str) -> None:
    """The order is the data flow's, whatever order they come in."""
    where = find_where([], True, [], [quantity(name) for name in outside], EVERY)
    assert where.first
    assert where.first.name == first


def test_the_first_of_several_probes() -> None:
    """A probe that is off sooner leads nearer to the fault; of the same quantity the first probe's is told."""
    outside = [
        quantity("logits"),
        quantity("encoder.1", "right"),
        quantity("encoder.0", "types"),
        quantity("encoder.0", "long"),
    ]
    where = find_where([], True, [], outside, EVERY)
    assert where.first is outside[2]


@pytest.mark.parametrize(
    ("first", "behind", "later"),
    [
        ("encoder.1", ["encoder.embeddings.LayerNorm.bias"], 4),
        ("encoder.12", ["encoder.embeddings.LayerNorm.bias", QUERY], 3),
        (
            "decoder.1",
            ["encoder.embeddings.LayerNorm.bias", QUERY, "decoder.transformer.h.0.ln_1.bias"],
            2,
        ),
        (
            "decoder.2",
            [
                "encoder.embeddings.LayerNorm.bias",
                QUERY,
                "decoder.transformer.h.0.ln_1.bias",
                LAST_NORM,
            ],
            1,
        ),
    ],
)
def test_what_is_behind(first: str, behind: list[str], later: int) -> None:
    """All that a quantity is computed from, in the order of the data flow; the last states may hold the last norm."""
    tensors = differing(
        POOLER,
        LAST_NORM,
        "decoder.transformer.h.0.ln_1.bias",
        QUERY,
        "encoder.embeddings.LayerNorm.bias",
    )
    where = find_where(tensors, False, [], [quantity(first)], EVERY)
    assert ([tensor.source for tensor in where.tensors], where.later) == (behind, later)


def test_without_outputs_all_tensors_are_told() -> None:
    """There is no first quantity, and the tensors stand in the order of the data flow."""
    where = find_where(differing(POOLER, LAST_NORM, QUERY), False, [])
    assert (where.first, [tensor.source for tensor in where.tensors], where.later) == (
        None,
        [QUERY, LAST_NORM, POOLER],
        0,
    )


def test_what_is_to_blame() -> None:
    """The weights, the config, both, or what is left: the class."""
    tensors, outside = differing(QUERY), [quantity("decoder.1")]
    assert [
        find_where(tensors, False, [], outside, EVERY).verdict,
        find_where(tensors, False, [EPSILON], outside, EVERY).verdict,
        find_where([], True, [EPSILON], outside, EVERY).verdict,
        find_where([], True, [], outside, EVERY).verdict,
        find_where(differing(POOLER), False, [], outside, EVERY).verdict,
        find_where(differing(POOLER), False, [EPSILON], outside, EVERY).verdict,
        find_where([], False, []).verdict,
    ] == [
        "the weights",
        "the weights, and the config differs too",
        "every weight is right, so it is the config",
        "every weight and every config key that matters are equal, so it is the class that runs the target",
        "the class that runs the target: what differs in weights is not read for this",
        "the config: what differs in weights is not read for this",
        "the weights: tensors are missing, too many, or not those of the trace",
    ]
