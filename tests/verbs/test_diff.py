"""`diff`: what is equal is equal in every naming and format, and what differs is named, placed and measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import ckptconv
from ckptconv import PlanError, SourceError, WriteOptions, diff
from diffing import lines

if TYPE_CHECKING:
    from conftest import MakePair

Arrays: TypeAlias = dict[str, NDArray[Any]]
ROOT = Path(__file__).parents[2]
QUERY = "decoder.bert.encoder.layer.1.crossattention.self.query.weight"
KEY = QUERY.replace("query", "key")
POSITIONS = "encoder.embeddings.position_embeddings.weight"
HEAD = "decoder.cls.predictions.decoder.weight"
WORDS = "decoder.bert.embeddings.word_embeddings.weight"


def conversions(source: Path, folder: Path) -> dict[str, Path]:
    """Return a checkpoint in every naming and format that ckptconv writes."""
    for form in ("hdf5", "safetensors"):
        ckptconv.pt2tf(source, folder / f"tf-{form}", form)
    for form in ("msgpack", "safetensors"):
        ckptconv.pt2flax(source, folder / f"flax-{form}", form)
    ckptconv.pt2flax(source, folder / "flax-unhealed", heal=False)
    ckptconv.normalize(source, folder / "normal", WriteOptions(max_shard_bytes=500_000))
    return {"source": source} | {path.name: path for path in folder.iterdir()}


def changed(source: Path, folder: Path, change: Callable[[Arrays], object]) -> Path:
    """Copy a PyTorch checkpoint in safetensors and change its tensors."""
    shutil.copytree(source, folder)
    arrays = load_file(folder / "model.safetensors")
    change(arrays)
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def configured(folder: Path, **keys: Any) -> Path:
    """Change a config in its place; `decoder__x` is x of the decoder."""
    config = json.loads((folder / "config.json").read_text())
    for key, value in keys.items():
        side, _, rest = key.rpartition("__")
        (config[side] if side else config)[rest] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def trained(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the trained checkpoint in every naming and format; not to be changed."""
    return conversions(dates, tmp_path_factory.mktemp("forms"))


@pytest.mark.thorough
def test_one_model_in_every_form(trained: dict[str, Path]) -> None:
    """The trained checkpoint is equal to itself from every naming and format to every other, bit for bit."""
    for first, second in permutations(trained.values(), 2):
        difference = diff(first, second)
        assert (
            difference.matches,
            len(difference.tensors),
            {line.verdict for line in difference.tensors},
        ) == (
            True,
            101,
            {"equal"},
        )


@pytest.mark.thorough
@pytest.mark.parametrize("families", [("roberta", "gpt2"), ("gpt2", "roberta"), ("bert", "bert")])
def test_other_pairs_with_a_bridge(
    make_pair: MakePair, tmp_path: Path, families: tuple[str, str]
) -> None:
    """Bridges, Conv1D, and tables healed for Flax on one side, the other or both, are seen through.

    All that is said is where Flax's class cannot generate.
    """
    dec = {"n_embd": 5} if families[1] == "gpt2" else {"hidden_size": 5}
    source = make_pair(*families, dec=dec).write(tmp_path / "source")
    (tmp_path / "forms").mkdir()
    forms = conversions(source, tmp_path / "forms")
    unable = {path for path in forms.values() if "unhealed" in path.name and families[0] != "gpt2"}
    for first, second in permutations(forms.values(), 2):
        difference = diff(first, second)
        assert (difference.matches, lines(difference), difference.config) == (True, [], ())
        said = [notice.partition(": no record of healing")[0] for notice in difference.notices]
        assert said == [str(path) for path in (first, second) if path in unable]


@pytest.mark.thorough
@pytest.mark.parametrize("pair", ["bert-bert", "roberta-gpt2"])
def test_what_transformers_5_saved(tmp_path: Path, pair: str) -> None:
    """A checkpoint of version 5 is equal to its conversions."""
    source = ROOT / "fixtures" / "v5" / pair
    ckptconv.pt2tf(source, tmp_path / "tf")
    difference = diff(tmp_path / "tf", source)
    assert (difference.matches, lines(difference), difference.config) == (True, [], ())


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_cast_is_told_and_no_difference(
    trained: dict[str, Path], tmp_path: Path, dtype: Any
) -> None:
    """After a cast to a narrower dtype everything is equal, whichever of the two comes first."""
    ckptconv.pt2flax(trained["source"], tmp_path / "half", "safetensors", WriteOptions(dtype=dtype))
    for pair in ((trained["tf-hdf5"], tmp_path / "half"), (tmp_path / "half", trained["source"])):
        difference = diff(*pair)
        assert (difference.matches, {tensor.verdict for tensor in difference.tensors}) == (
            True,
            {"cast"},
        )


FAULTS: dict[str, tuple[Callable[[Arrays], object], list[tuple[str, str, str]]]] = {
    "transposed": (lambda a: a.update({QUERY: a[QUERY].T}), [(QUERY, "transposed", "transposed")]),
    "swapped": (
        lambda a: a.update({QUERY: a[KEY], KEY: a[QUERY]}),
        [
            (
                QUERY,
                "swapped",
                "swapped with decoder/bert/encoder/layer_._1/crossattention/self/key/kernel:0",
            ),
            (
                KEY,
                "swapped",
                "swapped with decoder/bert/encoder/layer_._1/crossattention/self/query/kernel:0",
            ),
        ],
    ),
    "scaled": (
        lambda a: a.update({QUERY: a[QUERY] * np.float32(0.5)}),
        [(QUERY, "scaled", "scaled by 2")],
    ),
    "positions": (
        lambda a: a.update({POSITIONS: np.roll(a[POSITIONS], 1, 0)}),
        [(POSITIONS, "shifted", "shifted by -1 along row")],
    ),
    "heads": (
        lambda a: a.update({QUERY: a[QUERY][[*range(24, 48), *range(24), *range(48, 96)]]}),
        [
            (
                QUERY,
                "permuted",
                "48 of 96 along out are in another order: 0 holds 24, 1 holds 25, 2 holds 26, 3 holds 27"
                " and 44 more",
            )
        ],
    ),
    "re-initialised": (
        lambda a: a.update(
            {QUERY: np.random.default_rng(0).normal(0, 0.02, a[QUERY].shape).astype(np.float32)}
        ),
        [
            (
                QUERY,
                "initialised",
                "what was expected looks newly initialised: uncorrelated, normal around 0 with standard deviation 0.02",
            )
        ],
    ),
    "untied": (
        lambda a: a.update({HEAD: a[WORDS] * np.float32(2)}),
        [(HEAD, "untied", f"no longer repeats {WORDS}, to which it is tied: scaled by 0.5")],
    ),
    "lost": (lambda a: a.pop(QUERY), [(QUERY, "only in B", "only in B: float32 [96, 96]")]),
    "unknown": (
        lambda a: a.update(stray=np.ones(3, np.float32)),
        [("stray", "only in A", "only in A: float32 [3]")],
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_across_frameworks(trained: dict[str, Path], tmp_path: Path, fault: str) -> None:
    """A fault in PyTorch's file against TF's good one: the tensor is named, and what happened to it."""
    change, expected = FAULTS[fault]
    difference = diff(changed(trained["source"], tmp_path / "bad", change), trained["tf-hdf5"])
    assert (difference.matches, sorted(lines(difference))) == (False, sorted(expected))


def test_a_fault_in_hdf5(trained: dict[str, Path], tmp_path: Path) -> None:
    """A fault in TF's file against Flax's good one; both spellings are there."""
    shutil.copytree(trained["tf-hdf5"], tmp_path / "bad")
    names: list[str] = []
    with h5py.File(tmp_path / "bad" / "tf_model.h5", "r+") as file:
        file.visit(names.append)
        (name,) = [
            name
            for name in names
            if name.endswith("layer_._0/attention/self/value/bias:0") and "/decoder/" in name
        ]
        file[name][...] = 0
    (result,) = diff(trained["flax-msgpack"], tmp_path / "bad").worst_first
    assert (result.verdict, result.first, result.second, result.part, result.layer) == (
        "zeros",
        "decoder/bert/encoder/layer/0/attention/self/value/bias",
        "decoder/bert/encoder/layer_._0/attention/self/value/bias:0",
        "decoder",
        "layer 0",
    )


def test_which_layers_moved_how_much(trained: dict[str, Path], tmp_path: Path) -> None:
    """Each layer has its relative change over all its tensors, in the order of the tables."""

    def train(arrays: Arrays) -> None:
        for name in arrays:
            if name.startswith("encoder.encoder.layer.1."):
                arrays[name] = arrays[name] * np.float32(1.25)

    layers = diff(
        trained["flax-msgpack"], changed(trained["source"], tmp_path / "later", train)
    ).layers
    assert [
        (layer.part, layer.layer, layer.differing, layer.tensors, round(layer.figures.relative, 6))
        for layer in layers
    ] == [
        ("encoder", "embeddings", 0, 5, 0.0),
        ("encoder", "layer 0", 0, 16, 0.0),
        ("encoder", "layer 1", 16, 16, 0.25),
        ("encoder", "", 0, 2, 0.0),
        ("decoder", "embeddings", 0, 5, 0.0),
        ("decoder", "layer 0", 0, 16, 0.0),
        ("cross-attention", "layer 0", 0, 10, 0.0),
        ("decoder", "layer 1", 0, 16, 0.0),
        ("cross-attention", "layer 1", 0, 10, 0.0),
        ("head", "", 0, 5, 0.0),
    ]
    stored = load_file(trained["source"] / "model.safetensors")
    assert sum(layer.parameters for layer in layers) == sum(array.size for array in stored.values())


@pytest.mark.thorough
def test_parts_against_the_whole(trained: dict[str, Path], tmp_path: Path) -> None:
    """An encoder or a decoder alone is compared with its side of a whole, in any naming, and with its like."""
    ckptconv.split(trained["source"], tmp_path / "parts")
    encoder, decoder = tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder"
    assert [
        (found.matches, len(found.tensors), found.models)
        for found in (
            diff(trained["tf-hdf5"], encoder),
            diff(decoder, trained["flax-msgpack"]),
            diff(encoder, encoder),
        )
    ] == [
        (True, 39, ("bert -> bert", "bert encoder")),
        (True, 62, ("bert decoder", "bert -> bert")),
        (True, 39, ("bert encoder", "bert encoder")),
    ]
    with pytest.raises(
        SourceError,
        match=r"is a bert encoder, .*/decoder a bert decoder: there is nothing to compare",
    ):
        diff(encoder, decoder)


@pytest.mark.thorough
def test_config_keys_that_matter(trained: dict[str, Path], tmp_path: Path) -> None:
    """A key that changes answers is a difference with both values; one that does not is none."""
    second = shutil.copytree(trained["flax-msgpack"], tmp_path / "other")
    configured(
        second,
        transformers_version="5.0",
        encoder__attention_probs_dropout_prob=0.3,
        torch_dtype="float16",
        decoder__use_cache=False,
    )
    assert diff(trained["source"], second).matches
    configured(
        second, decoder_start_token_id=3, decoder__layer_norm_eps=1e-5, encoder__hidden_act="relu"
    )
    difference = diff(trained["source"], second)
    assert (difference.matches, lines(difference)) == (False, [])
    assert [(item.key, item.first, item.second) for item in difference.config] == [
        ("decoder.layer_norm_eps", 1e-12, 1e-5),
        ("decoder_start_token_id", 2, 3),
        ("encoder.hidden_act", "gelu", "relu"),
    ]


def test_a_checkpoint_that_contradicts_its_config(trained: dict[str, Path], tmp_path: Path) -> None:
    """Shapes and dtypes that are not the config's are refused, all together."""

    def cut(arrays: Arrays) -> None:
        arrays[QUERY] = arrays[QUERY][:5]
        arrays[KEY] = arrays[KEY].astype(np.int32)

    with pytest.raises(PlanError) as refusal:
        diff(trained["tf-hdf5"], changed(trained["source"], tmp_path / "bad", cut))
    assert [(problem.kind, problem.name) for problem in refusal.value.problems] == [
        ("dtype", KEY),
        ("shape", QUERY),
    ]


def test_progress_counts_every_byte(trained: dict[str, Path]) -> None:
    """A bar ends where it should."""
    steps: list[tuple[int, int]] = []
    difference = diff(
        trained["source"], trained["flax-msgpack"], lambda done, total: steps.append((done, total))
    )
    assert (len(steps), steps[-1]) == (101, (difference.nbytes, difference.nbytes))
