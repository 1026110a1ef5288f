"""What a dry run accepts, the run accepts: over every verb, odd dtypes, and parts that are not there.

A source holds what old versions saved beside the weights, integers and masks, and mixes dtypes within a side and from
side to side. What its target needs and no tensor gives is made in the dtype of its own side's weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ckptconv
from ckptconv import CkptconvError, JoinOptions, WriteOptions
from ckptconv.stores.checkpoint import read_weights
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import FLOATS

if TYPE_CHECKING:
    from conftest import MakePair, Pair

CONVERSIONS: dict[str, Callable[[Path, Path, WriteOptions], Any]] = {
    "pt2tf": lambda source, target, options: ckptconv.pt2tf(source, target, options=options),
    "pt2tf safetensors": lambda source, target, options: ckptconv.pt2tf(
        source, target, "safetensors", options
    ),
    "pt2flax": lambda source, target, options: ckptconv.pt2flax(source, target, options=options),
    "pt2flax safetensors": lambda source, target, options: ckptconv.pt2flax(
        source, target, "safetensors", options
    ),
    "normalize": ckptconv.normalize,
    "split": ckptconv.split,
}
"""Every verb that reads a PyTorch pair and writes."""
BACK = {"tf": ckptconv.tf2pt, "flax": ckptconv.flax2pt}
NEW = ("crossattention", "ln_cross_attn", "cls.", "lm_head", "enc_to_dec_proj")
"""What two models that were never joined lack."""
FOLDERS = count()

Folder = Callable[[], Path]


@dataclass(frozen=True, slots=True)
class Source:
    """How a source departs from the plain pair."""

    encoder: str
    decoder: str
    empty: tuple[dict[str, int], dict[str, int]]
    """Changes of each side's config, one of which leaves no layer at all."""
    dtypes: tuple[str, str]
    """Of each side's weights."""
    strays: dict[int, str]
    """Number of a tensor -> its dtype, where it is not its side's."""
    buffers: str
    """Dtype of what is no weight, such as `position_ids`."""
    pooler: bool
    bridge: bool

    def pair(self, make_pair: MakePair, lacking: tuple[str, ...] = ()) -> Pair:
        """Return the pair: with every buffer that its families know, which come first in the file."""
        width = {"n_embd" if self.decoder == "gpt2" else "hidden_size": 5} if self.bridge else {}
        enc, dec = self.empty
        pair: Pair = make_pair(self.encoder, self.decoder, enc=enc, dec=dec | width)
        lacking = lacking if self.pooler else (*lacking, "pooler")
        buffers = {
            row.spellings["pytorch"].names[0]: stored(np.ones((1, 3)), self.buffers)
            for row in pair.rows
            if row.module.presence == "dropped"
        }
        weights = {
            name: stored(array, self.strays.get(number, self.dtypes[not name.startswith("enc")]))
            for number, (name, array) in enumerate(pair.arrays.items())
            if not any(part in name for part in lacking)
        }
        kept = {
            name: array
            for name, array in buffers.items()
            if not any(part in name for part in lacking)
        }
        return type(pair)(pair.config, kept | weights)


FAMILIES = st.sampled_from(["bert", "roberta", "gpt2"])
DTYPES = st.sampled_from(FLOATS)
EMPTY = st.sampled_from([{}, {}, {"num_hidden_layers": 0, "n_layer": 0}])
SOURCES = st.builds(
    Source,
    FAMILIES,
    FAMILIES,
    st.tuples(EMPTY, EMPTY),
    st.tuples(DTYPES, DTYPES),
    st.dictionaries(st.integers(0, 60), DTYPES, max_size=3),
    st.sampled_from(("bool", "uint8", "int64", "int32", *FLOATS)),
    st.booleans(),
    st.booleans(),
)
SHARDS = st.sampled_from([None, None, 1000])
OPTIONS = st.builds(WriteOptions, max_shard_bytes=SHARDS)
JOIN_OPTIONS = st.builds(
    JoinOptions,
    dtype=st.sampled_from(["keep", "keep", "float16", "bfloat16"]),
    max_shard_bytes=SHARDS,
    cross_attention=st.sampled_from(["random", "self"]),
)


def few(examples: int) -> Any:
    """Return Hypothesis's settings for so many examples."""
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=health)


def stored(array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Return an array in another dtype; bfloat16 as its bits."""
    if dtype == "bfloat16":
        return (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return array.astype(dtype)


def outcome(run: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a verb gives, or the refusal; whatever else it raises fails the test."""
    try:
        return run(), ""
    except CkptconvError as error:
        return None, str(error)


def as_planned(verb: Callable[[Path, Any], Any], target: Path, options: WriteOptions) -> Any:
    """Run a verb as a dry run, then in earnest, and require the same end. Returns the result."""
    dry, expected = outcome(lambda: verb(target, replace(options, dry_run=True)))
    outcomes, refusal = outcome(lambda: verb(target, options))
    assert refusal == expected
    assert outcomes is None or plans(dry) == plans(outcomes)
    return outcomes


def plans(result: Any) -> list[Any]:
    """Return the plan of a conversion, or of each part of a split."""
    return [part.plan for part in result.parts] if hasattr(result, "parts") else [result.plan]


def most(plan: Any, side: str) -> Iterator[str]:
    """Return the dtype that holds most of a side's elements; several where it is a draw."""
    sizes = Counter[str]()
    for move in plan.moves:
        if move.source is not None and move.tensor.key.startswith(side):
            sizes[move.source.spec.dtype] += move.source.spec.numel
    return (dtype for dtype, size in sizes.items() if size == max(sizes.values()))


def new(plan: Any, widened: Mapping[str, str] | None = None) -> int:
    """Require that what no source gives has the dtype of its side's weights; return how many those are."""
    moves = [move for move in plan.moves if move.source is None]
    for move in moves:
        side = "encoder" if move.tensor.key.startswith("encoder") else "decoder"
        own = [(widened or {}).get(dtype, dtype) for dtype in most(plan, side)]
        assert move.target.dtype in own, move.target
    return len(moves)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return what names a folder that is not there yet."""
    return lambda: tmp_path / str(next(FOLDERS))


def check_conversion(pair: Pair, verb: str, options: WriteOptions, folder: Folder) -> None:
    """Convert as the dry run says; what was written is what was planned, and turns back."""
    source = pair.write(folder())
    result = as_planned(lambda out, how: CONVERSIONS[verb](source, out, how), folder(), options)
    if verb == "pt2flax safetensors" and options.max_shard_bytes:
        assert result is None
        return
    for plan in plans(result):
        new(plan, FORMATS["hdf5"].widened if verb == "pt2tf" else {})
        assert {move.target.dtype for move in plan.moves} <= set(FLOATS)
    if verb != "split":
        expected = {move.target.name: move.target for move in result.plan.moves}
        tensors = read_weights(result.target).tensors
        assert {name: tensor.spec for name, tensor in tensors.items()} == expected
    if verb.startswith("pt2"):
        back = BACK[result.naming]
        assert as_planned(lambda out, how: back(result.target, out, how), folder(), WriteOptions())


def check_join(pair: Pair, options: JoinOptions, folder: Folder) -> Any:
    """Join both sides as the dry run says."""
    parts = []
    for side in ("encoder.", "decoder."):
        arrays = {
            name.removeprefix(side): array
            for name, array in pair.arrays.items()
            if name.startswith(side)
        }
        parts.append(type(pair)(pair.config[side[:-1]], arrays).write(folder()))
    result = as_planned(lambda out, how: ckptconv.join(*parts, out, how), folder(), options)
    if options.dtype == "keep":
        new(result.plan)
    else:
        assert {move.target.dtype for move in result.plan.moves} == {options.dtype}
    expected = {move.target.name: move.target for move in result.plan.moves}
    tensors = read_weights(result.target).tensors
    assert {name: tensor.spec for name, tensor in tensors.items()} == expected
    return result


@pytest.mark.thorough
@few(10)
@given(source=SOURCES, verb=st.sampled_from(sorted(CONVERSIONS)), options=OPTIONS)
def test_conversions(
    make_pair: MakePair, folder: Folder, source: Source, verb: str, options: WriteOptions
) -> None:
    """A pair in any mix of dtypes converts as its dry run says, in the dtypes of its own sides."""
    check_conversion(source.pair(make_pair), verb, options, folder)


@pytest.mark.thorough
@few(15)
@given(source=SOURCES, options=JOIN_OPTIONS)
def test_join(make_pair: MakePair, folder: Folder, source: Source, options: JoinOptions) -> None:
    """Two models in any mix of dtypes join as the dry run says, and what is new has its side's dtype."""
    check_join(source.pair(make_pair, NEW), options, folder)


@pytest.mark.thorough
@few(100)
@given(source=SOURCES, verb=st.sampled_from(sorted(CONVERSIONS)), options=OPTIONS)
def test_many_conversions(
    make_pair: MakePair, folder: Folder, source: Source, verb: str, options: WriteOptions
) -> None:
    """The same, of many more."""
    check_conversion(source.pair(make_pair), verb, options, folder)


@pytest.mark.thorough
@few(100)
@given(source=SOURCES, options=JOIN_OPTIONS)
def test_many_joins(
    make_pair: MakePair, folder: Folder, source: Source, options: JoinOptions
) -> None:
    """The same, of many more."""
    check_join(source.pair(make_pair, NEW), options, folder)


@pytest.mark.parametrize("verb", ["split", "normalize", "pt2tf", "pt2flax"])
def test_an_old_checkpoint_without_a_pooler(pair: Pair, folder: Folder, verb: str) -> None:
    """`position_ids` stands first in the file; the pooler is written as zeros, in the encoder's float16."""
    ids = {"encoder.embeddings.position_ids": np.arange(17)[None]}
    halves = {
        name: array.astype(np.float16 if name.startswith("encoder.") else np.float32)
        for name, array in pair.arrays.items()
        if "pooler" not in name
    }
    source = type(pair)(pair.config, ids | halves).write(folder())
    result = CONVERSIONS[verb](source, folder(), WriteOptions())
    made = [move.target for plan in plans(result) for move in plan.moves if move.source is None]
    assert [(tensor.dtype, "pooler" in tensor.name) for tensor in made] == [("float16", True)] * 2


def test_two_old_models(make_pair: MakePair, folder: Folder) -> None:
    """The cross-attention that is drawn for a float32 decoder is float32, whatever the encoder's file begins with."""
    source = Source("bert", "bert", ({}, {}), ("float16", "float32"), {}, "int64", True, False)
    result = check_join(source.pair(make_pair, NEW), JoinOptions(), folder)
    assert new(result.plan) == 25


@pytest.mark.parametrize("verb", sorted(CONVERSIONS))
@pytest.mark.parametrize("stray", ["a directory", "a link out", "a link to nothing"])
def test_what_lies_beside(
    pair: Pair, folder: Folder, tmp_path: Path, verb: str, stray: str
) -> None:
    """A file beside the weights that cannot travel is found by the dry run, not in mid run."""
    source = pair.write(folder())
    strange = source / "tokenizer.json"
    if stray == "a directory":
        strange.mkdir()
    else:
        (tmp_path / "elsewhere").write_text("{}")
        strange.symlink_to(tmp_path / ("elsewhere" if "out" in stray else "nowhere"))
    assert (
        as_planned(lambda out, how: CONVERSIONS[verb](source, out, how), folder(), WriteOptions())
        is None
    )


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_what_lies_beside_a_part(pair: Pair, folder: Folder, tmp_path: Path, side: str) -> None:
    """The same of `join`, which takes the encoder's tokenizer, and none of the decoder's."""
    for name in ("encoder.", "decoder."):
        arrays = {
            key.removeprefix(name): array for key, array in pair.arrays.items() if name in key
        }
        type(pair)(pair.config[name[:-1]], arrays).write(tmp_path / name[:-1])
    (tmp_path / side / "vocab.txt").mkdir()
    result = as_planned(
        lambda out, how: ckptconv.join(tmp_path / "encoder", tmp_path / "decoder", out, how),
        folder(),
        JoinOptions(),
    )
    assert bool(result) is (side == "decoder")
