"""All verbs give one verdict: over every spelling that the tables allow, of every family, in every format.

A checkpoint verifies against itself, verify is symmetric and agrees with diff and with a trace of the source, and
`inspect` says complete exactly when a conversion would read it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import ckptconv
from ckptconv import SourceError, WriteOptions
from ckptconv.binding.bind import WRAPPING
from ckptconv.run.fingerprints import STORED, fingerprints
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import SchemaTensor
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.record import compare_digests
from tiny import decoders, encoders, plain
from tracing import made_up

if TYPE_CHECKING:
    from conftest import Counted, Pair

Arrays: TypeAlias = dict[str, NDArray[Any]]
DECODES = {"is_decoder": True, "add_cross_attention": True}
QUICK = [("roberta", "gpt2")]
FEW = frozenset(
    {"plain", "old names", "ties under the second name", "below module.", "module within"}
    | {"shards", "tf hdf5", "flax msgpack"}
)
"""A way of each kind, for the fast suite; the thorough tests try every way."""
PAIRS = sorted(
    {*((encoder, "bert") for encoder in encoders()), *(("bert", decoder) for decoder in decoders())}
)

TRIED = [
    pytest.param(*families, marks=() if place % 6 == 0 else pytest.mark.soak)
    for place, families in enumerate(PAIRS)
]
"""Every sixth pair in `make test`."""


def made(pair_type: type[Pair], encoder: str, decoder: str, **whole: Any) -> Pair:
    """Return a pair of two families with values of its own for every tensor, as its class would save it."""
    config = {
        "model_type": "encoder-decoder",
        "is_encoder_decoder": True,
        "encoder": plain(encoder),
        "decoder": plain(decoder) | DECODES,
        **whole,
    }
    rng = np.random.default_rng(11)
    schema = read_model(Config(config)).tensors
    arrays = {
        tensor.names_in("pytorch")[0]: rng.standard_normal(tensor.shape("pytorch"), np.float32)
        for tensor in schema
        if tensor.names_in("pytorch") and not tensor.is_buffer and not tensor.shares
    }
    return pair_type(config, arrays)


def spellings(pair: Pair) -> Iterator[tuple[str, Arrays]]:
    """Return the same values in every way that PyTorch's classes of any age may have stored them."""
    schema = {tensor.key: tensor for tensor in read_model(Config(pair.config)).tensors}
    yield "plain", pair.arrays
    yield "old names", {_oldest(schema[key]): array for key, array in pair.arrays.items()}
    tied = [
        (key, tensor.tied_to)
        for key, tensor in schema.items()
        if tensor.shares and tensor.tied_to in pair.arrays and tensor.names_in("pytorch")
    ]
    if tied:
        twice = {key: pair.arrays[of] for key, of in tied if of}
        yield "ties stored twice", pair.arrays | twice
        second = {of: key for key, of in tied if of}
        yield (
            "ties under the second name",
            {second.get(key, key): array for key, array in pair.arrays.items()},
        )
    buffers = {
        tensor.names_in("pytorch")[0]: np.arange(3, dtype=np.int64).reshape(1, 3)
        for tensor in schema.values()
        if tensor.is_buffer
    }
    if buffers:
        yield "buffers", buffers | pair.arrays
    for wrapper in ("module.", "_orig_mod.", "model.wrapped."):
        yield f"below {wrapper}", {wrapper + key: array for key, array in pair.arrays.items()}
    for level in sorted(WRAPPING):
        yield f"{level} within", {_wrapped(key, level): array for key, array in pair.arrays.items()}
    some = sorted(pair.arrays)[::2]
    yield (
        "some modules wrapped",
        {
            _wrapped(key, "module") if key in some else key: array
            for key, array in pair.arrays.items()
        },
    )
    optional = {key for key, tensor in schema.items() if tensor.module.presence == "zeros"}
    if optional & pair.arrays.keys():
        zeros = {
            key: np.zeros_like(array) if key in optional else array
            for key, array in pair.arrays.items()
        }
        pair.arrays = zeros
        yield "zeros stored", zeros
        yield (
            "zeros left out",
            {key: array for key, array in zeros.items() if key not in optional},
        )


def _wrapped(name: str, level: str) -> str:
    """Return a name in which the innermost module is wrapped, and the outermost once more."""
    *above, leaf = name.split(".")
    return ".".join([*above[:1], level, *above[1:], level, leaf])


def _oldest(tensor: SchemaTensor) -> str:
    return tensor.names_in("pytorch")[-1]


def stored(pair: Pair, folder: Path, *, few: bool = False) -> dict[str, Path]:
    """Write a pair in every spelling and, as far as classes exist, in each framework's formats; or in a few."""
    paths = {}
    original = dict(pair.arrays)
    for name, arrays in spellings(pair):
        if name.startswith("zeros") or (few and name not in FEW):
            continue  # zeros are other values: see `test_what_may_be_left_out`
        paths[name] = type(pair)(pair.config, arrays).write(folder / name.replace(" ", "-"))
    pair.arrays = original
    ckptconv.normalize(paths["plain"], folder / "shards", WriteOptions(max_shard_bytes=5000))
    paths["shards"] = folder / "shards"
    ways: list[tuple[str, Callable[..., object], dict[str, Any]]] = [
        ("tf hdf5", ckptconv.pt2tf, {"format": "hdf5"}),
        ("tf safetensors", ckptconv.pt2tf, {"format": "safetensors"}),
        ("flax msgpack", ckptconv.pt2flax, {"format": "msgpack"}),
        ("flax safetensors", ckptconv.pt2flax, {"format": "safetensors"}),
        ("flax unmended", ckptconv.pt2flax, {"heal": False}),
    ]
    for name, convert, options in ways:
        if few and name not in FEW:
            continue
        target = folder / name.replace(" ", "-")
        try:
            convert(paths["plain"], target, **options)
        except SourceError:
            continue  # no class for this pair
        paths[name] = target
    return paths


def weights_match(source: Path, target: Path) -> bool:
    """Tell whether verify says that the weights are the same; a refusal is no match."""
    try:
        return ckptconv.verify(source, target, "weights").matches
    except SourceError:
        return False


def diff_matches(first: Path, second: Path) -> bool:
    """Tell whether diff finds no difference; a refusal is one."""
    try:
        return ckptconv.diff(first, second).matches
    except SourceError:
        return False


def disagreements(paths: dict[str, Path], same: bool) -> list[str]:
    """Return every verdict that is not the one that all should give."""
    wrong = []
    plain_path = paths["plain"]
    for name, path in paths.items():
        verdicts = {
            "verify X X": weights_match(path, path) is True,
            "verify A B": weights_match(plain_path, path) is same,
            "verify B A": weights_match(path, plain_path) is same,
            "diff": diff_matches(plain_path, path) is same,
        }
        wrong += [f"{name}: {verb}" for verb, right in verdicts.items() if not right]
    return wrong


@pytest.mark.parametrize(("encoder", "decoder"), QUICK)
def test_one_verdict(pair: Pair, tmp_path: Path, encoder: str, decoder: str) -> None:
    """Whatever the spelling or format, each verb says that the values are the same."""
    paths = stored(made(type(pair), encoder, decoder), tmp_path, few=True)
    assert disagreements(paths, same=True) == []
    assert paths.keys() == FEW


@pytest.mark.thorough
@pytest.mark.parametrize(("encoder", "decoder"), [*QUICK, *TRIED])
def test_one_verdict_in_every_family(
    pair: Pair, tmp_path: Path, counted: Counted, encoder: str, decoder: str
) -> None:
    """The same for every family on each side that it can be on."""
    paths = stored(made(type(pair), encoder, decoder), tmp_path)
    assert disagreements(paths, same=True) == []
    counted(f"agreement: {encoder} -> {decoder}: {len(paths)} spellings, {4 * len(paths)} verdicts")


@pytest.mark.thorough
def test_a_shared_encoder(pair: Pair, tmp_path: Path) -> None:
    """An encoder that is stored once, since the decoder shares it, is no other than one stored in full."""
    paths = stored(made(type(pair), "bert", "bert", tie_encoder_decoder=True), tmp_path)
    assert disagreements(paths, same=True) == []


@pytest.mark.thorough
@pytest.mark.parametrize("naming", ["plain", "tf hdf5", "flax msgpack", "ties stored twice"])
def test_one_value_changed(pair: Pair, tmp_path: Path, naming: str) -> None:
    """One element of one tensor, whichever it is: every verb says that something differs, both ways round."""
    whole = made(type(pair), "bert", "gpt2")
    paths = stored(whole, tmp_path / "right")
    rng = np.random.default_rng(2)
    for name in rng.choice(sorted(whole.arrays), 5, replace=False):
        spoilt = dict(whole.arrays)
        spoilt[name] = spoilt[name].copy()
        spoilt[name].flat[rng.integers(spoilt[name].size)] += 1.0
        second = stored(type(pair)(whole.config, spoilt), tmp_path / str(name))[naming]
        verdicts = [
            judge(*ends)
            for judge, ends in product(
                (weights_match, diff_matches), ((paths["plain"], second), (second, paths["plain"]))
            )
        ]
        assert verdicts == [False] * 4, name


@pytest.mark.thorough
def test_what_may_be_left_out(pair: Pair, tmp_path: Path) -> None:
    """A pooler of zeros may be absent; one that was trained may not, and all verbs say so."""
    whole = made(type(pair), "bert", "bert")
    trained = whole.write(tmp_path / "trained")
    variants = dict(spellings(whole))
    zeros, without = (
        type(pair)(whole.config, variants[name]).write(tmp_path / name.replace(" ", "-"))
        for name in ("zeros stored", "zeros left out")
    )
    for judge in (weights_match, diff_matches):
        for first, second in ((zeros, without), (without, zeros), (without, without)):
            assert judge(first, second), (judge, first, second)
        for first, second in ((trained, without), (without, trained), (trained, zeros)):
            assert not judge(first, second), (judge, first, second)


@pytest.mark.thorough
@pytest.mark.parametrize(("encoder", "decoder"), QUICK)
def test_a_trace_gives_the_same_verdict(
    pair: Pair, tmp_path: Path, encoder: str, decoder: str
) -> None:
    """The source itself and the digests in a trace of it judge every spelling alike."""
    whole = made(type(pair), encoder, decoder)
    trace, model = made_up(whole, tmp_path / "traced")
    for name, path in stored(whole, tmp_path / "all").items():
        target = open_checkpoint(path)
        report = compare_digests(trace, model, target)
        assert (report.problems, report.tensors > 0) == ((), True), name
        again = {**fingerprints(target, model, STORED)}
        assert compare_digests(replace(trace, weights=again), model, target).problems == (), name


BROKEN: dict[str, Callable[[Arrays], object]] = {
    "nothing": lambda arrays: None,
    "a tensor is missing": lambda arrays: arrays.popitem(),
    "one is left over": lambda arrays: arrays.update(stray=np.ones(2, np.float32)),
    "one is misshapen": lambda arrays: arrays.update(
        {key: array[..., 1:] for key, array in list(arrays.items())[:1]}
    ),
    "one is of integers": lambda arrays: arrays.update(
        {key: array.astype(np.int32) for key, array in list(arrays.items())[-1:]}
    ),
    "one is stored under two names": lambda arrays: arrays.update(
        {"encoder.embeddings.LayerNorm.gamma": arrays["encoder.embeddings.LayerNorm.weight"]}
    ),
}


@pytest.mark.parametrize("fault", ["nothing", "a tensor is missing"])
def test_complete_means_that_a_conversion_reads_it(pair: Pair, tmp_path: Path, fault: str) -> None:
    """`inspect` has no problem exactly where every verb that it names would read the checkpoint."""
    assert_complete_where_read(pair, tmp_path, fault, few=True)


@pytest.mark.thorough
@pytest.mark.parametrize("fault", BROKEN)
def test_complete_in_every_spelling(pair: Pair, tmp_path: Path, fault: str) -> None:
    """The same for each fault in each spelling."""
    assert_complete_where_read(pair, tmp_path, fault, few=False)


def assert_complete_where_read(pair: Pair, folder: Path, fault: str, *, few: bool) -> None:
    """Hold what `inspect` says of a fault against what each verb does that it names."""
    whole = made(type(pair), "bert", "gpt2")
    for name, arrays in list(spellings(whole)):
        spoilt = dict(arrays)
        if few and name not in FEW:
            continue
        if fault == "one is stored under two names" and name != "plain":
            continue
        BROKEN[fault](spoilt)
        path = type(pair)(whole.config, spoilt).write(folder / name.replace(" ", "-"))
        inspection = ckptconv.inspect(path)
        complete = not inspection.problems and not inspection.refusal
        assert complete == (fault == "nothing" or _still_whole(name, fault)), (
            name,
            inspection.problems,
        )
        for target in inspection.targets:
            verb = getattr(ckptconv, target.verb)
            out = folder / f"{target.verb}-{name}".replace(" ", "-")
            try:
                verb(path, out, options=WriteOptions(dry_run=True))
            except SourceError:
                assert not complete, (name, target)
            else:
                assert complete, (name, target)


def _still_whole(spelling: str, fault: str) -> bool:
    """Say where a fault takes away what is there twice, or what may be absent."""
    first_is_a_buffer = spelling == "buffers" and fault == "one is misshapen"
    twice = spelling == "ties stored twice" and fault == "a tensor is missing"
    return first_is_a_buffer or twice


def test_the_config_alone_differs(pair: Pair, tmp_path: Path) -> None:
    """Equal weights under configs that compute something else are no match for any verb."""
    whole = made(type(pair), "bert", "bert")
    first = whole.write(tmp_path / "first")
    whole.config = json.loads(json.dumps(whole.config))
    whole.config["decoder"]["layer_norm_eps"] = 0.5
    second = whole.write(tmp_path / "second")
    assert not any(
        judge(*ends)
        for judge in (weights_match, diff_matches)
        for ends in ((first, second), (second, first))
    )
