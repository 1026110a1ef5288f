"""Special cases, as the real classes save and load them: shared sides, odd dtypes, old and new files, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np
import pytest

import ckptconv
from ckptconv import WriteOptions
from ckptconv.base.errors import FrameworkError
from ckptconv.run.children import Answer
from ckptconv.run.forward import ForwardReport
from ckptconv.run.yardstick import MAX_FACTOR, RMS_FACTOR, difference
from ckptconv.transfer.manifest import MANIFEST, SUMS
from special import (
    FORMS,
    RUN,
    SAMPLE,
    SAVED,
    WAYS,
    WORKAROUND,
    Case,
    cases,
    config,
    make,
    old_names,
    reports,
    resave,
    save_again,
    tensors,
    weights,
)
from tiny import ROOT, plain

Reports: TypeAlias = dict[Case, ForwardReport | Answer | FrameworkError]
PARTS = ("tied", "bridge", "no-pooler", *WORKAROUND)
VERBS = {"tf": (ckptconv.pt2tf, ckptconv.tf2pt), "flax": (ckptconv.pt2flax, ckptconv.flax2pt)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the sources, what ckptconv made of them, and their normal forms."""
    folder = tmp_path_factory.mktemp("special")
    make(folder)
    for source in (folder / "source").iterdir():
        ckptconv.normalize(source, folder / "normal" / source.name)
    return folder


@pytest.fixture(scope="module")
def judge(root: Path) -> Callable[[Case], ForwardReport | Answer | FrameworkError]:
    """Return what says what came of a case; the sample is run at once, and so are all others."""
    groups: dict[bool, Reports] = {}

    def report(case: Case) -> ForwardReport | Answer | FrameworkError:
        group = str(case) in SAMPLE
        if group not in groups:
            groups[group] = reports(
                root, [case for case in cases() if (str(case) in SAMPLE) is group]
            )
        return groups[group][case]

    return report


@pytest.fixture(scope="module")
def saved(root: Path) -> Path:
    """The folder, once the TF and Flax classes have saved what they loaded."""
    resave(root)
    return root


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if str(case) in SAMPLE else pytest.mark.soak) for case in cases()],
    ids=str,
)
def test_the_same_answers(
    case: Case, judge: Callable[[Case], ForwardReport | Answer | FrameworkError]
) -> None:
    """The target's class loads it whole; states, logits and tokens agree within the yardstick."""
    report = judge(case)
    if isinstance(report, Answer) and not case.runs:
        assert report.problems == ()
        return
    assert isinstance(report, ForwardReport), f"{RUN[case.source][1]}: {report}"
    assert report.loading == ()
    assert bool(report.source.problems) == (
        case.source == "no-pooler"
    )  # as transformers itself loads the source
    assert {f"{item.probe} {item.name}": item.ratios for item in report.outside} == {}
    assert [
        (generation.name, generation.mismatches, generation.distinct > 1)
        for generation in report.generations
    ] == [
        ("greedy", (), True),
        ("beam", (), True),
    ]
    assert report.matches


@pytest.mark.frameworks
def test_shared_sides_are_written_in_full(root: Path, tmp_path: Path) -> None:
    """Stored once in safetensors or twice in .bin, the results are the same, byte for byte, and hold both sides."""
    assert weights(root / "normal" / "tied") == weights(root / "normal" / "tied-bin")
    result, once = tensors(root / "normal" / "tied"), tensors(root / "source" / "tied")
    shared = {name for name in result.keys() - once.keys() if name.startswith("encoder.")}
    assert len(shared) == 37
    assert all(
        result[name].equal(once[name.replace("encoder.", "decoder.bert.", 1)]) for name in shared
    )
    assert {name for name in once if name.startswith("encoder.")} == {
        "encoder.pooler.dense.weight",
        "encoder.pooler.dense.bias",
    }
    for naming, (verb, _) in VERBS.items():
        verb(root / "source" / "tied-bin", tmp_path / naming)
        assert weights(tmp_path / naming) == weights(
            root / "out" / f"tied-{naming}-{FORMS[naming][0]}"
        )


@pytest.mark.frameworks
@pytest.mark.parametrize("name", PARTS)
def test_parts_load_whole(root: Path, name: str) -> None:
    """`AutoModel` and `AutoModelForCausalLM` load the parts with nothing missing, left over or reshaped."""
    transformers = import_module("transformers")
    whole = transformers.EncoderDecoderModel.from_pretrained(root / "normal" / name)
    for side, auto in (
        ("encoder", transformers.AutoModel),
        ("decoder", transformers.AutoModelForCausalLM),
    ):
        model, info = auto.from_pretrained(root / "parts" / name / side, output_loading_info=True)
        assert not any(info.values()), info
        expected = getattr(whole, side)
        assert type(model) is type(expected)
        assert model.state_dict().keys() == expected.state_dict().keys()
        assert all(
            value.equal(expected.state_dict()[key]) for key, value in model.state_dict().items()
        )


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file, but what says how it came to be."""
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.name not in (MANIFEST, SUMS)
    }


@pytest.mark.frameworks
@pytest.mark.parametrize("name", PARTS)
def test_parts_join_to_the_whole(root: Path, tmp_path: Path, name: str) -> None:
    """What transformers saved comes back from its parts, projection, config and generation settings included."""
    parts = root / "parts" / name
    ckptconv.join(parts / "encoder", parts / "decoder", tmp_path / "out")
    normal = root / "normal" / name
    assert contents(tmp_path / "out") == contents(normal)
    assert ("enc_to_dec_proj.weight" in tensors(tmp_path / "out")) == (name == "bridge")


@pytest.mark.frameworks
@pytest.mark.parametrize("base", ["BertModel", "BertForMaskedLM"])
def test_join_is_what_transformers_makes(tmp_path: Path, base: str) -> None:
    """From two models of their own: the same tensors and config as `from_encoder_decoder_pretrained`, loaded whole."""
    transformers = import_module("transformers")
    getattr(transformers, base)(transformers.BertConfig(**plain("bert"))).save_pretrained(
        tmp_path / "one"
    )
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**plain("gpt2"))).save_pretrained(
        tmp_path / "two"
    )
    ckptconv.join(tmp_path / "one", tmp_path / "two", tmp_path / "out")
    ours, info = transformers.EncoderDecoderModel.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values()), info
    theirs = transformers.EncoderDecoderModel.from_encoder_decoder_pretrained(
        tmp_path / "one", tmp_path / "two"
    )
    result, expected = ours.state_dict(), theirs.state_dict()
    assert result.keys() == expected.keys()
    new = {
        name
        for name in result
        if "cross" in name or ("pooler" in name and base == "BertForMaskedLM")
    }
    same = {name for name in result if result[name].equal(expected[name])}
    assert same >= result.keys() - new
    assert not any(name.endswith("weight") and "ln" not in name for name in same & new)
    theirs.save_pretrained(tmp_path / "theirs")
    assert config(tmp_path / "out") == config(tmp_path / "theirs")


@pytest.mark.frameworks
def test_no_pooler(root: Path, tmp_path: Path) -> None:
    """An encoder without pooler gets one of zeros, said, in every verb; all else is as it was."""
    source = root / "source" / "no-pooler"
    for verb in (ckptconv.pt2tf, ckptconv.pt2flax, ckptconv.normalize, ckptconv.split):
        notices = verb(source, tmp_path / "out", options=WriteOptions(dry_run=True)).notices
        assert (
            len(
                [
                    notice
                    for notice in notices
                    if "pooler.dense" in notice and "not in the source, written as zeros" in notice
                ]
            )
            == 1
        )
    result, before = tensors(root / "normal" / "no-pooler"), tensors(root / "normal" / "bert-gpt2")
    assert result.keys() == before.keys()
    differs = {name for name in result if not result[name].equal(before[name])}
    assert differs == {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}
    assert not any(result[name].any() for name in differs)
    kind = import_module("transformers").EncoderDecoderModel
    _, info = kind.from_pretrained(root / "normal" / "no-pooler", output_loading_info=True)
    assert not any(info.values()), info


@pytest.mark.frameworks
def test_narrow_floats(root: Path, tmp_path: Path) -> None:
    """HDF5 keeps float16, and holds bfloat16 as float32, which is said; the values are the source's."""
    for name, stored, said in (
        ("float16", "float16", ()),
        ("bfloat16", "float32", ("HDF5 has no bfloat16: written as float32, every value kept",)),
    ):
        result = ckptconv.pt2tf(root / "source" / name, tmp_path / name)
        assert (result.notices, config(tmp_path / name)["dtype"]) == (said, stored)
        table = "encoder/tf_encoder_decoder_model/encoder/bert/embeddings/word_embeddings/weight:0"
        with h5py.File(tmp_path / name / "tf_model.h5") as file:
            array = np.asarray(file[table])
        expected = (
            tensors(root / "source" / name)["encoder.embeddings.word_embeddings.weight"]
            .float()
            .numpy()
        )
        assert array.dtype == stored
        assert np.array_equal(array, expected)


@pytest.mark.frameworks
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["gamma and beta", "buffers", "module", "plain"])
def test_old_names(root: Path, tmp_path: Path, kind: str, zipped: bool) -> None:
    """A .bin of old times, before torch 1.6 or after, gives the same files as today's checkpoint."""
    source = tmp_path / "source"
    save_again(root / "source" / "bert-gpt2", source)
    held = old_names(tensors(source), kind)
    assert (kind == "plain") == (held.keys() == tensors(source).keys())
    import_module("torch").save(
        held, source / "pytorch_model.bin", _use_new_zipfile_serialization=zipped
    )
    (source / "model.safetensors").unlink()
    result = ckptconv.normalize(source, tmp_path / "normal")
    assert weights(tmp_path / "normal") == weights(root / "normal" / "bert-gpt2")
    assert len(result.notices) == (kind in ("buffers", "module"))
    for naming, (verb, _) in VERBS.items():
        verb(source, tmp_path / naming)
        verb(root / "source" / "bert-gpt2", tmp_path / f"today-{naming}")
        assert weights(tmp_path / naming) == weights(tmp_path / f"today-{naming}")


@pytest.mark.frameworks
def test_shards_of_bin(root: Path) -> None:
    """A .bin in shards is read through its index."""
    assert len(list((root / "source" / "bin-shards").glob("*.bin"))) == 3
    assert weights(root / "normal" / "bin-shards") == weights(root / "normal" / "bert-gpt2")


@pytest.mark.frameworks
@pytest.mark.parametrize("pair", ["bert-bert", "roberta-gpt2"])
def test_what_transformers_5_saved(root: Path, pair: str) -> None:
    """The files in fixtures/ are version 5's; their targets hold every bit, and transformers 4 reads the config."""
    source = ROOT / "fixtures" / "v5" / pair
    assert json.loads((source / "config.json").read_text())["transformers_version"].startswith("5.")
    for naming in FORMS:
        target = root / "out" / f"v5-{pair}-{naming}-{FORMS[naming][0]}"
        assert ckptconv.verify(source, target, "weights").matches
        assert config(target)["dtype"] == "float32"


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("name", "naming", "way"),
    [(name, *item) for name in SAVED for item in ((d, way) for d in WAYS for way in WAYS[d])],
)
def test_what_the_classes_saved(
    saved: Path, tmp_path: Path, name: str, naming: str, way: str
) -> None:
    """Loaded and saved by the target's own class, in each of its formats, it becomes the original again."""
    source = saved / "saved" / f"{name}-{naming}-{way}"
    assert len(list(source.glob("*model-0*"))) > 3 or "shards" not in way
    VERBS[naming][1](source, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(saved / "normal" / name)
    assert config(tmp_path / "out") == config(saved / "normal" / name)


@pytest.mark.frameworks
@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("naming", FORMS)
def test_config_is_the_class_s_own(saved: Path, name: str, naming: str) -> None:
    """The config that ckptconv wrote says what the class itself says when it saves, the record included."""
    form = FORMS[naming][0]
    ours, theirs = (
        config(saved / "out" / f"{name}-{naming}-{form}"),
        config(saved / "saved" / f"{name}-{naming}-{form}"),
    )
    assert ours == theirs
    assert ("ckptconv" in ours) == (naming == "flax")


@pytest.mark.frameworks
@pytest.mark.parametrize("name", WORKAROUND)
def test_parts_serve_the_documented_workaround(saved: Path, name: str) -> None:
    """TF's `from_encoder_decoder_pretrained` on the parts, `from_pt`, answers what PyTorch answers on the whole."""
    with np.load(saved / f"workaround-{name}.npz") as logits:
        first, second = (difference(logits[key], logits["exact"]) for key in ("pytorch", "tf"))
    assert first.rms > 0
    assert second.rms <= RMS_FACTOR * first.rms
    assert second.worst <= MAX_FACTOR * first.worst


@pytest.mark.frameworks
@pytest.mark.parametrize("name", WORKAROUND)
@pytest.mark.parametrize("naming", sorted(VERBS))
def test_halves_that_the_classes_saved(saved: Path, tmp_path: Path, naming: str, name: str) -> None:
    """Encoder and decoder by themselves, as TF's and Flax's classes save them, are joined to the source's tensors."""
    halves = saved / "halves" / f"{name}-{naming}"
    ckptconv.join(halves / "encoder", halves / "decoder", tmp_path / "joined")
    result, expected = tensors(tmp_path / "joined"), tensors(saved / "normal" / name)
    unread = {key for key in expected if "pooler" in key}
    assert result.keys() == expected.keys()
    assert [
        key for key in result if key not in unread and not result[key].equal(expected[key])
    ] == []
