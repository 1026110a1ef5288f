"""`plan`: rows against an index, every problem at once, and each move of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ckptconv.base.errors import PlanError
from ckptconv.binding.bind import bind
from ckptconv.binding.plan import Move, Plan, make_plan, widening_notice
from ckptconv.schema.config import Config
from ckptconv.schema.fixes import RowRange
from ckptconv.schema.model import read_model
from ckptconv.stores.tensor import Extent, Stored, TensorSpec
from tiny import plain

if TYPE_CHECKING:
    from conftest import MakePair, Pair

FILE = Path("model.safetensors")
WORDS = "decoder.bert.embeddings.word_embeddings.weight"
OUTPUT = "decoder.cls.predictions.decoder.weight"
QUERY = "encoder.encoder.layer.0.attention.self.query.weight"
POOLER = ("encoder.pooler.dense.weight", "encoder.pooler.dense.bias")


def index_of(specs: Mapping[str, TensorSpec]) -> dict[str, Stored]:
    """Return places one after the other for tensors of these dtypes and shapes."""
    starts = accumulate((spec.nbytes for spec in specs.values()), initial=0)
    return {
        name: Stored.in_file(spec, FILE, (Extent(start, spec.nbytes),))
        for (name, spec), start in zip(specs.items(), starts, strict=False)
    }


def specs_of(pair: Pair, dtype: str = "float32") -> dict[str, TensorSpec]:
    """Return what the pair holds."""
    return {name: TensorSpec(name, dtype, array.shape) for name, array in pair.arrays.items()}


def plan_of(
    pair: Pair, specs: Mapping[str, TensorSpec], target: Any = "flax", **options: Any
) -> Plan:
    """Plan a conversion from PyTorch."""
    return make_plan(bind(pair.rows, index_of(specs), "pytorch"), target, what="here", **options)


def move_of(plan: Plan, key: str) -> Move:
    """Return the move of one row."""
    (move,) = (move for move in plan.moves if move.tensor.key == key)
    return move


def test_every_problem_at_once(pair: Pair) -> None:
    """Missing, unexpected, misshapen, of a wrong dtype, twice: one error lists them all, sorted."""
    specs = specs_of(pair)
    norm, key = "encoder.embeddings.LayerNorm", "encoder.encoder.layer.1.attention.self.key"
    del specs[QUERY]
    specs[f"{norm}.gamma"] = TensorSpec(f"{norm}.gamma", "float32", (7,))
    specs["left.over"] = TensorSpec("left.over", "float16", (2, 3))
    specs[f"{key}.weight"] = TensorSpec(f"{key}.weight", "int32", (7, 5))
    specs[WORDS] = TensorSpec(WORDS, "float32", (28, 7))
    with pytest.raises(PlanError) as refusal:
        plan_of(pair, specs)
    assert str(refusal.value) == (
        "here: 6 problems\n"
        f"  dtype       {key}.weight: expected one of float64, float32, float16, bfloat16, found int32\n"
        f"  duplicate   {norm}.gamma: the same tensor as {norm}.weight\n"
        f"  missing     {QUERY}: expected [7, 7]\n"
        f"  shape       {WORDS}: expected [29, 7] (row, dim), found [28, 7]\n"
        f"  shape       {key}.weight: expected [7, 7] (out, in), found [7, 5]\n"
        "  unexpected  left.over: float16 [2, 3]\n"
        "The config and the tensors contradict each other: is this config.json the one of these weights?"
    )


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_every_required_tensor_is_missed(pair: Pair, name: str) -> None:
    """No tensor but the pooler's can be left out without being named; nothing else is."""
    for dropped in [key for key in pair.arrays if key.endswith(name) and key not in POOLER]:
        specs = specs_of(pair)
        shape = list(specs.pop(dropped).shape)
        with pytest.raises(PlanError) as refusal:
            plan_of(pair, specs)
        assert [str(problem) for problem in refusal.value.problems] == [
            f"missing     {dropped}: expected {shape}"
        ]


def test_the_plan_is_complete(pair: Pair) -> None:
    """Every row is written once, in the tables' order, from the tensor of its own name."""
    plan = plan_of(pair, specs_of(pair))
    assert [move.tensor.key for move in plan.moves] == list(pair.arrays)
    assert [move.source.spec.name for move in plan.moves if move.source] == list(pair.arrays)
    assert len({move.target.name for move in plan.moves}) == len(plan.moves)
    assert (plan.equalities, plan.notices, plan.healed) == ((), (), ())


def test_a_square_matrix_is_transposed(pair: Pair) -> None:
    """Axes go by their labels: a 7 x 7 query is transposed, an embedding and a bias are not."""
    plan = plan_of(pair, specs_of(pair))
    feed = "decoder.bert.encoder.layer.0.intermediate.dense.weight"
    result = [
        (m.permutation, m.target.shape) for m in (move_of(plan, k) for k in (QUERY, feed, WORDS))
    ]
    assert result == [((1, 0), (7, 7)), ((1, 0), (7, 11)), ((), (29, 7))]
    assert move_of(plan, "decoder.cls.predictions.bias").permutation == ()


def test_conv1d_gets_its_axis_of_length_one(make_pair: MakePair) -> None:
    """TF's Conv1D keeps (in, out) and stores a bias as (1, out); Flax's turns the kernel round."""
    pair = make_pair(decoder="gpt2")
    base = "decoder.transformer.h.0.attn.c_attn"
    result = [
        (move.permutation, move.target.shape)
        for target in ("tf", "flax")
        for role in ("weight", "bias")
        for move in [move_of(plan_of(pair, specs_of(pair), target), f"{base}.{role}")]
    ]
    assert result == [((), (7, 21)), ((), (1, 21)), ((1, 0), (21, 7)), ((), (21,))]


def test_a_tied_alias_may_be_absent_present_or_the_only_one(pair: Pair) -> None:
    """Tied output embeddings are written once, from whichever name is there; two are to be equal."""
    absent = specs_of(pair)
    both = {**absent, OUTPUT: TensorSpec(OUTPUT, "float32", (29, 7))}
    alone = {name: spec for name, spec in both.items() if name != WORDS}
    plans = [plan_of(pair, specs) for specs in (absent, both, alone)]
    sources = [move_of(plan, WORDS).source for plan in plans]
    assert [source.spec.name for source in sources if source] == [WORDS, WORDS, OUTPUT]
    assert [
        [
            (equality.first.spec.name, equality.second.spec.name, equality.kind)
            for equality in plan.equalities
        ]
        for plan in plans
    ] == [[], [(WORDS, OUTPUT, "not equal")], []]
    assert {len(plan.moves) for plan in plans} == {len(absent)}


def test_an_untied_head_that_tf_cannot_hold(make_pair: MakePair) -> None:
    """TF has no head of its own, so an untied one must equal the embeddings; Flax holds both."""
    pair = make_pair(dec={"tie_word_embeddings": False})
    tf, flax = (plan_of(pair, specs_of(pair), target) for target in ("tf", "flax"))
    assert [(equality.second.spec.name, equality.kind) for equality in tf.equalities] == [
        (OUTPUT, "cannot hold")
    ]
    assert flax.equalities == ()
    assert len(flax.moves) == len(tf.moves) + 1
    assert move_of(flax, OUTPUT).permutation == (1, 0)


def test_an_absent_pooler_becomes_zeros(pair: Pair) -> None:
    """The composite never reads the pooler, so zeros stand in for it, and the user is told."""
    specs = specs_of(pair, "float16")
    for name in POOLER:
        del specs[name]
    plan = plan_of(pair, specs)
    moves = [move_of(plan, name) for name in POOLER]
    assert [(move.source, move.target.dtype, move.target.shape) for move in moves] == [
        (None, "float16", (7, 7)),
        (None, "float16", (7,)),
    ]
    assert plan.notices == (
        f"{POOLER[0]} and 1 more: not in the source,"
        " written as zeros (the composite never reads the pooler)",
    )


def test_buffers_are_left_behind(pair: Pair) -> None:
    """What old versions saved and every model makes anew goes nowhere, whatever its dtype, and is named."""
    names = [f"{side}.embeddings.position_ids" for side in ("encoder", "decoder.bert")]
    specs = {name: TensorSpec(name, "int64", (1, 17)) for name in names} | specs_of(pair)
    plan = plan_of(pair, specs)
    assert [move.tensor.key for move in plan.moves] == list(pair.arrays)
    assert plan.notices == (
        f"{names[0]} and 1 more: left behind (a constant that every model makes anew)",
    )


def test_two_models_are_not_yet_a_pair(pair: Pair) -> None:
    """A decoder without any cross-attention leads to `ckptconv join`."""
    specs = {name: spec for name, spec in specs_of(pair).items() if ".crossattention." not in name}
    with pytest.raises(PlanError) as refusal:
        plan_of(pair, specs)
    assert len(refusal.value.problems) == len(pair.arrays) - len(specs) == 20
    assert refusal.value.hint == (
        "The decoder has no cross-attention at all: these are two models, not yet an encoder-decoder.\n"
        "`ckptconv join ENCODER DECODER OUT` makes one of them."
    )


def test_healing_moves_rows(make_pair: MakePair) -> None:
    """RoBERTa's position tables are rolled by pad + 1, the encoder's first token type is repeated."""
    pair = make_pair("roberta", "roberta")
    plan = plan_of(pair, specs_of(pair), fixes=read_model(Config(pair.config)).fixes())
    result = {move.tensor.key: (move.rows, move.target.shape) for move in plan.moves if move.rows}
    assert result == {
        "encoder.embeddings.position_embeddings.weight": (
            (RowRange(2, 17), RowRange(0, 2)),
            (17, 7),
        ),
        "encoder.embeddings.token_type_embeddings.weight": (
            (RowRange(0, 1, 17), RowRange(1, 3)),
            (19, 7),
        ),
        "decoder.roberta.embeddings.position_embeddings.weight": (
            (RowRange(2, 19), RowRange(0, 2)),
            (19, 7),
        ),
    }
    assert [f"{record.module}.weight" for record in plan.healed] == sorted(
        result, key=list(pair.arrays).index
    )
    assert plan.notices == tuple(f"{record.module}: {record.why}" for record in plan.healed)


def test_a_cast_changes_every_target_and_no_source(pair: Pair) -> None:
    """`dtype` is what the targets get."""
    plan = plan_of(pair, specs_of(pair), dtype="bfloat16")
    assert {(move.source.spec.dtype, move.target.dtype) for move in plan.moves if move.source} == {
        ("float32", "bfloat16")
    }
    assert plan.nbytes == 2 * sum(array.size for array in pair.arrays.values())


def test_what_a_format_lacks_is_widened(pair: Pair) -> None:
    """HDF5 has no bfloat16: kept or asked for, it becomes float32, and the notice says so."""
    plan = plan_of(pair, specs_of(pair, "bfloat16"), "tf", widened={"bfloat16": "float32"})
    assert {move.target.dtype for move in plan.moves} == {"float32"}
    assert list(widening_notice(plan, "HDF5")) == [
        "HDF5 has no bfloat16: written as float32, every value kept"
    ]
    asked = plan_of(pair, specs_of(pair), "tf", dtype="bfloat16", widened={"bfloat16": "float32"})
    assert {move.target.dtype for move in asked.moves} == {"float32"}


def test_below_takes_a_prefix_off(pair: Pair) -> None:
    """A part of a plan has the targets below its prefix, and no others."""
    plan = plan_of(pair, specs_of(pair), "pytorch")
    part = plan.below("encoder.")
    assert [move.target.name for move in part.moves] == [
        name.removeprefix("encoder.") for name in pair.arrays if name.startswith("encoder.")
    ]


def test_a_tied_head_that_tf_stores_as_well() -> None:
    """XGLM's head is written once more for TF, turned round, and read back only where it equals the embeddings."""
    sides = {
        "encoder": plain("bert"),
        "decoder": plain("xglm") | {"is_decoder": True, "add_cross_attention": True},
    }
    rows = read_model(Config({"model_type": "encoder-decoder", **sides})).tensors
    held = [
        (row.spellings["tf"].names[0], row.shape("tf")) for row in rows if "tf" in row.spellings
    ]
    specs = {name: TensorSpec(name, "float32", shape) for name, shape in held}
    plan = make_plan(bind(rows, index_of(specs), "tf"), "pytorch", what="here")
    (pair,) = plan.equalities
    vocabulary, width = pair.first.spec.shape
    assert (pair.second.spec.name, pair.second.spec.shape) == (
        "decoder/lm_head/kernel:0",
        (vocabulary, width),
    )
    assert pair.second.strides == (1, vocabulary)
    assert "decoder.lm_head.weight" not in {move.target.name for move in plan.moves}
    pytorch = {move.target.name: move.target for move in plan.moves}
    there = make_plan(bind(rows, index_of(pytorch), "pytorch"), "tf", what="here")
    assert move_of(there, "decoder.lm_head.weight").permutation == (1, 0)
