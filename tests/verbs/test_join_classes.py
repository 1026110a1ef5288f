"""What `join` is given: a whole BART, halves of TF and Flax, and models inside a wrapper's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ckptconv
from binding.test_identify import part_of
from binding.test_identify import write as write_model
from ckptconv import JoinOptions, PlanError
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES, Whole
from ckptconv.schema.model import read_model
from tiny import plain
from verbs.test_agreement import made
from verbs.test_join import config_of, original, part, tree, two, weights

if TYPE_CHECKING:
    from conftest import MakePair, Pair

WORDS = "decoder.model.decoder.embed_tokens.weight"
HEAD = "decoder.lm_head.weight"
STACK = "model.decoder."


def bart_pair(pair: Pair, **decoder: Any) -> Pair:
    """Return a bert -> bart pair of the tables."""
    result = made(type(pair), "bert", "bart")
    result.config["decoder"] |= {"is_encoder_decoder": True} | decoder
    return result


def bart(pair: Pair, folder: Path, base: str, table: tuple[str, ...], **more: NDArray[Any]) -> Path:
    """Write a pair's decoder as a class of BART's would: its stack below `base`, its words under the names `table`."""
    arrays = {
        base + name.partition(STACK)[2]: array
        for name, array in pair.arrays.items()
        if STACK in name and name not in (WORDS, HEAD)
    }
    words = dict.fromkeys(table, pair.arrays[WORDS])
    encoder = {
        f"{base.removesuffix('decoder.')}encoder.layernorm_embedding.bias": np.ones(21, "f4")
    }
    return type(pair)(pair.config["decoder"], words | arrays | encoder | more).write(folder)


@pytest.mark.parametrize(
    ("base", "table"),
    [
        ("model.decoder.", ("model.decoder.embed_tokens.weight",)),
        ("model.decoder.", ("lm_head.weight",)),
        ("model.decoder.", ("model.shared.weight",)),
        ("decoder.", ("shared.weight",)),
        (
            "decoder.",
            ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
        ),
        (
            "model.decoder.",
            ("model.shared.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"),
        ),
        ("", ("embed_tokens.weight",)),
        ("wrapped.model.decoder.", ("wrapped.model.shared.weight", "wrapped.lm_head.weight")),
    ],
)
def test_a_whole_bart(pair: Pair, tmp_path: Path, base: str, table: tuple[str, ...]) -> None:
    """Every class of BART's begins at another level and has its words under another name; all are one decoder."""
    source = bart_pair(pair)
    decoder = bart(source, tmp_path / "bart", base, table)
    result = ckptconv.join(part(source, "encoder", tmp_path / "bert"), decoder, tmp_path / "out")
    arrays = weights(tmp_path / "out")
    assert arrays.keys() == source.arrays.keys()
    assert all(np.array_equal(arrays[name], source.arrays[name]) for name in arrays)
    assert any("layernorm_embedding.bias" in notice for notice in result.notices)
    assert config_of(tmp_path / "out")["decoder"]["is_encoder_decoder"] is False
    assert ckptconv.inspect(tmp_path / "out").problems == ()


def test_two_tables_of_one_bart(pair: Pair, tmp_path: Path) -> None:
    """Words that the config ties and the file holds twice must be equal; untied, the decoder's own are taken."""
    tied = bart_pair(pair)
    encoder = part(tied, "encoder", tmp_path / "bert")
    shared = {"shared.weight": tied.arrays[WORDS] + 1}
    decoder = bart(tied, tmp_path / "tied", "decoder.", ("decoder.embed_tokens.weight",), **shared)
    with pytest.raises(PlanError, match=r"elements differ.*the config ties them"):
        ckptconv.join(encoder, decoder, tmp_path / "none")
    loose = bart_pair(pair, tie_word_embeddings=False)
    more = {**shared, "lm_head.weight": tied.arrays[WORDS] + 2}
    decoder = bart(loose, tmp_path / "loose", "decoder.", ("decoder.embed_tokens.weight",), **more)
    ckptconv.join(encoder, decoder, tmp_path / "out")
    arrays = weights(tmp_path / "out")
    assert np.array_equal(arrays[WORDS], tied.arrays[WORDS])
    assert np.array_equal(arrays[HEAD], tied.arrays[WORDS] + 2)


def wholes() -> list[Any]:
    """Return the families of decoders that have a class of one piece, with each other framework that has it.

    The first of each framework is tried in the fast suite.
    """
    cases = [
        (family.model_type, naming)
        for family in FAMILIES.values()
        if isinstance(family.whole, Whole) and family.decoder
        for naming in family.whole.classes
        if naming != "pytorch"
    ]
    first = {naming: (family, naming) for family, naming in reversed(cases)}
    return [
        case if case in first.values() else pytest.param(*case, marks=pytest.mark.thorough)
        for case in cases
    ]


@pytest.mark.parametrize(("family", "naming"), wholes())
def test_a_whole_of_another_framework(pair: Pair, tmp_path: Path, family: str, naming: str) -> None:
    """The decoder of a whole in TF or Flax is that of the same whole in PyTorch, its shared table too."""
    rng = np.random.default_rng(3)
    config = {key: value for key, value in plain(family).items() if key != "is_decoder"}
    config |= {"is_encoder_decoder": True, "d_model": 24}  # sines need an even width
    arrays = {
        tensor.names_in("pytorch")[0]: rng.standard_normal(tensor.shape("pytorch"), np.float32)
        for tensor in read_model(Config(config)).tensors
        if tensor.is_written_in("pytorch") and tensor.module.formula is None
    }
    source = type(pair)(config, arrays).write(tmp_path / "pytorch")
    getattr(ckptconv, f"pt2{naming}")(source, tmp_path / naming)
    encoder = part(made(type(pair), "bert", "bert"), "encoder", tmp_path / "bert")
    ckptconv.join(encoder, source, tmp_path / "expected")
    ckptconv.join(encoder, tmp_path / naming, tmp_path / "out")
    expected, result = weights(tmp_path / "expected"), weights(tmp_path / "out")
    assert result.keys() == expected.keys()
    assert all(np.array_equal(result[name], expected[name]) for name in expected)
    assert np.array_equal(
        result["decoder.model.decoder.embed_tokens.weight"], arrays["model.shared.weight"]
    )


def halves(pair: Pair, folder: Path, naming: str, drop: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """Write both sides of a pair as TF's or Flax's classes save them alone; `drop` names what they lack."""
    source = pair.write(folder / "source")
    if naming == "tf":
        ckptconv.pt2tf(source, folder / "whole", "safetensors")
    else:  # one model alone is never mended
        ckptconv.pt2flax(source, folder / "whole", "safetensors", heal=False)
    for side in ("encoder", "decoder"):
        arrays = {
            name: array
            for name, array in part_of(folder / "whole", side).items()
            if not any(piece in name for piece in drop)
        }
        config = {key: value for key, value in pair.config[side].items() if "decoder" not in key}
        write_model(folder / side, config, arrays, naming)
    return folder / "encoder", folder / "decoder"


@pytest.mark.parametrize("naming", ["tf", "flax"])
@pytest.mark.parametrize("sides", ["bert gpt2", "roberta roberta", "gpt2 bert"])
def test_halves_of_another_framework(
    make_pair: MakePair, tmp_path: Path, naming: str, sides: str
) -> None:
    """Two halves in TF or Flax are joined to what the same halves of PyTorch's would be, and it is said."""
    pair = make_pair(*sides.split())
    result = ckptconv.join(*halves(pair, tmp_path, naming), tmp_path / "out")
    arrays = weights(tmp_path / "out")
    assert arrays.keys() == pair.arrays.keys()
    assert all(np.array_equal(arrays[name], pair.arrays[name]) for name in arrays)
    assert result.notices[0] == f"encoder: read from {naming} weights (model.safetensors)"
    assert result.naming == "pytorch"


@pytest.mark.parametrize("naming", ["tf", "flax"])
def test_self_attention_of_another_framework(
    make_pair: MakePair, tmp_path: Path, naming: str
) -> None:
    """`--cross-attention self` gives the same from TF's and Flax's halves as from PyTorch's."""
    pair, options = make_pair(decoder="gpt2"), JoinOptions(cross_attention="self")
    lacking = ("crossattention", "ln_cross_attn")
    ckptconv.join(*halves(pair, tmp_path / "a", naming, lacking), tmp_path / "out", options)
    ckptconv.join(*two(pair, tmp_path / "b", lacking), tmp_path / "expected", options)
    assert weights(tmp_path / "out").keys() == weights(tmp_path / "expected").keys()
    expected = weights(tmp_path / "expected")
    assert all(
        np.array_equal(array, expected[name]) for name, array in weights(tmp_path / "out").items()
    )


def test_pytorch_weights_come_first(pair: Pair, tmp_path: Path) -> None:
    """A half that lies there for several frameworks is PyTorch's."""
    encoder, decoder = halves(pair, tmp_path, "tf")
    (encoder / "model.safetensors").rename(encoder / "tf_model.safetensors")
    part(pair, "encoder", tmp_path / "pt")
    (tmp_path / "pt" / "flax_model.msgpack").write_bytes(b"\x80")
    result = ckptconv.join(tmp_path / "pt", decoder, tmp_path / "out")
    read = [notice for notice in result.notices if "read from" in notice]
    assert read == ["decoder: read from tf weights (model.safetensors)"]


def wrapped(pair: Pair, side: str, folder: Path, *prefixes: str) -> Path:
    """Write a side below each of some prefixes, with a head of the wrapper's own beside it."""
    arrays = {
        prefix + name.removeprefix(f"{side}."): array
        for prefix in prefixes
        for name, array in pair.arrays.items()
        if name.startswith(f"{side}.")
    }
    head = {"classifier.out.weight": np.ones((2, 7), np.float32)}
    return type(pair)(pair.config[side], arrays | head).write(folder)


@pytest.mark.parametrize("prefix", ["transformer.", "0.auto_model.", "module.student.bert."])
def test_a_model_inside_another(pair: Pair, tmp_path: Path, prefix: str) -> None:
    """The levels that a wrapper puts before a model's names are taken off and said; its own head is left."""
    encoder = wrapped(pair, "encoder", tmp_path / "one", prefix)
    result = ckptconv.join(encoder, part(pair, "decoder", tmp_path / "two"), tmp_path / "out")
    arrays = weights(tmp_path / "out")
    assert all(np.array_equal(arrays[name], pair.arrays[name]) for name in pair.arrays)
    assert [notice.split(":")[0] for notice in result.notices] == ["encoder", "encoder"]
    assert "which wraps the model: taken off" in result.notices[0]
    assert result.notices[1] == "encoder: not used: classifier.out.weight"


@pytest.mark.parametrize(
    ("prefixes", "problem"),
    [
        (("student.", "teacher."), "missing"),
        (("module.", "ema."), "duplicate   ema"),
        (("ema.", "_orig_mod.module."), "duplicate   ema"),
        (("module.ema.", "module.model."), "missing"),
    ],
)
def test_two_models_inside_another(
    pair: Pair, tmp_path: Path, prefixes: tuple[str, ...], problem: str
) -> None:
    """Of a student and its teacher nothing tells which is meant, so neither is taken."""
    encoder = wrapped(pair, "encoder", tmp_path / "one", *prefixes)
    with pytest.raises(PlanError, match=problem):
        ckptconv.join(encoder, part(pair, "decoder", tmp_path / "two"), tmp_path / "out")


def test_the_parts_of_split_in_another_framework(pair: Pair, tmp_path: Path) -> None:
    """What `split` wrote stays what it was: PyTorch's weights, and the whole beside them."""
    source = original(pair, tmp_path / "a")
    ckptconv.split(source, tmp_path / "parts")
    ckptconv.join(tmp_path / "parts" / "encoder", tmp_path / "parts" / "decoder", tmp_path / "b")
    assert tree(tmp_path / "b") == tree(source)
