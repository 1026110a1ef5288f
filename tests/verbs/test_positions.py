"""Flax checkpoints of RoBERTa-like models: two histories that the weights cannot tell apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ckptconv
from ckptconv import CkptconvError, SourceError
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.transfer.pieces import OpenFiles, Pieces

if TYPE_CHECKING:
    from conftest import Cli, MakePair

TABLES = (
    "encoder.embeddings.position_embeddings.weight",
    "decoder.roberta.embeddings.position_embeddings.weight",
)
FIRST = 2
"""PyTorch's row of the first position, where the padding token is 1."""


@pytest.fixture
def saved_by_flax(make_pair: MakePair, tmp_path: Path) -> Path:
    """Return a roberta pair in Flax that says nothing of its positions, as Flax's own class saves it."""
    source = make_pair("roberta", "roberta", dec={"pad_token_id": 1}).write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax", heal=False)
    (tmp_path / "flax" / "ckptconv.json").unlink()
    return tmp_path / "flax"


def table(folder: Path, name: str) -> NDArray[Any]:
    """Return a tensor's values."""
    stored = open_checkpoint(folder).weights.tensors[name]
    with OpenFiles() as files:
        values = np.concatenate([piece.copy() for piece in Pieces(files).plain(stored)])
    return values.view(np.float32).reshape(stored.spec.shape)


VERBS: dict[str, Callable[..., object]] = {
    "flax2pt": lambda flax, source, **more: ckptconv.flax2pt(flax, flax.parent / "out", **more),
    "verify": lambda flax, source, **more: ckptconv.verify(source, flax, "weights", **more),
    "verify back": lambda flax, source, **more: ckptconv.verify(flax, source, "weights", **more),
    "diff": ckptconv.diff,
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_asks(saved_by_flax: Path, verb: str) -> None:
    """Without a record each verb names both tables, and what to say."""
    with pytest.raises(SourceError) as refusal:
        VERBS[verb](saved_by_flax, saved_by_flax.parent / "source")
    text = str(refusal.value)
    assert "encoder.embeddings.position_embeddings and decoder.roberta" in text
    assert "--positions trained-in-flax" in text
    assert "--positions as-pytorch" in text
    assert not (saved_by_flax.parent / "out").exists()


def test_inspect_asks_too(saved_by_flax: Path) -> None:
    """The checkpoint is complete, and `flax2pt` is not promised."""
    inspection = ckptconv.inspect(saved_by_flax)
    (target,) = inspection.targets
    assert (inspection.problems, target.verb, target.converts) == ((), "flax2pt", False)
    assert "--positions trained-in-flax" in target.refusal


def test_as_pytorch_is_exact(saved_by_flax: Path) -> None:
    """Tables that `from_pt=True` made keep their rows, and every verb agrees."""
    source = saved_by_flax.parent / "source"
    ckptconv.flax2pt(saved_by_flax, saved_by_flax.parent / "out", positions="as-pytorch")
    for name in TABLES:
        assert np.array_equal(table(saved_by_flax.parent / "out", name), table(source, name))
    assert ckptconv.verify(source, saved_by_flax, "weights", positions="as-pytorch").matches
    assert ckptconv.diff(saved_by_flax, source, positions="as-pytorch").matches
    assert not ckptconv.diff(saved_by_flax, source, positions="trained-in-flax").matches


def test_trained_in_flax_is_exact(saved_by_flax: Path) -> None:
    """The row that Flax reads for a position is the one that PyTorch reads for it afterwards."""
    out = saved_by_flax.parent / "out"
    result = ckptconv.flax2pt(saved_by_flax, out, positions="trained-in-flax")
    assert sum("rows moved to where PyTorch counts" in notice for notice in result.notices) == 2
    assert not any("healing undone" in notice for notice in result.notices)
    for name in TABLES:
        flax = table(saved_by_flax, name.replace(".", "/").replace("weight", "embedding"))
        pytorch = table(out, name)
        assert np.array_equal(pytorch[FIRST:], flax[:-FIRST])
        assert np.array_equal(pytorch[:FIRST], flax[-FIRST:])
    assert ckptconv.verify(out, saved_by_flax, "weights", positions="trained-in-flax").matches
    assert ckptconv.verify(saved_by_flax, out, "weights", positions="trained-in-flax").matches
    assert ckptconv.diff(saved_by_flax, out, positions="trained-in-flax").matches


def test_two_that_count_alike_need_no_answer(saved_by_flax: Path) -> None:
    """A checkpoint is itself, however it counts."""
    assert ckptconv.verify(saved_by_flax, saved_by_flax, "weights").matches
    assert ckptconv.diff(saved_by_flax, saved_by_flax).matches


def test_what_pt2flax_wrote_is_known(make_pair: MakePair, tmp_path: Path) -> None:
    """Its manifest says how the positions count, as long as the weights are the ones that it names."""
    source = make_pair("roberta", "roberta", dec={"pad_token_id": 1}).write(tmp_path / "source")
    ckptconv.pt2flax(source, tmp_path / "flax", heal=False)
    ckptconv.flax2pt(tmp_path / "flax", tmp_path / "out")
    assert ckptconv.verify(source, tmp_path / "flax", "weights").matches
    weights = tmp_path / "flax" / "flax_model.msgpack"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(SourceError, match="trained-in-flax"):
        ckptconv.flax2pt(tmp_path / "flax", tmp_path / "again")


def test_a_bert_that_nobody_healed(make_pair: MakePair, tmp_path: Path) -> None:
    """Of a BERT without a record of healing every verb says the same; of a healed one none says it."""
    source = make_pair("bert", "bert").write(tmp_path / "source")
    says = "no record of healing, so Flax's own `generate` fails here: `encode` of Flax's class passes positions"
    for name, heal in (("healed", True), ("flax", False)):
        flax = tmp_path / name
        ckptconv.pt2flax(source, flax, heal=heal)
        statements = [
            ckptconv.inspect(flax).reading,
            ckptconv.diff(flax, source).notices,
            ckptconv.diff(source, flax).notices,
            ckptconv.verify(flax, source, level="weights").weights.notices,
            ckptconv.verify(source, flax, level="weights").weights.notices,
            ckptconv.flax2pt(flax, tmp_path / f"{name}-pt").notices,
        ]
        counts = [sum(says in notice for notice in notices) for notices in statements]
        assert counts == [0 if heal else 1] * len(statements)


def test_an_answer_to_no_question(make_pair: MakePair, tmp_path: Path, cli: Cli) -> None:
    """What records its positions, or counts them alike in both, takes no answer; nor is there a third choice."""
    for decoder, text in (("roberta", "records how"), ("bert", "alike in Flax and PyTorch")):
        encoder = "roberta" if decoder == "roberta" else "bert"
        folder = tmp_path / decoder
        source = make_pair(encoder, decoder, dec={"pad_token_id": 1}).write(folder / "source")
        ckptconv.pt2flax(source, folder / "flax")
        with pytest.raises(SourceError, match=text):
            ckptconv.flax2pt(folder / "flax", folder / "out", positions="as-pytorch")
        with pytest.raises(SourceError, match="omit --positions"):
            ckptconv.diff(folder / "flax", source, positions="as-pytorch")
    with pytest.raises(CkptconvError, match="'trained-in-flax', 'as-pytorch'"):
        ckptconv.flax2pt(folder / "flax", folder / "out", positions="from-zero")  # type: ignore[arg-type]
    assert cli("flax2pt", folder / "flax", folder / "out", "--positions", "from-zero").code == 2


def test_a_healed_model_that_was_trained(make_pair: MakePair, tmp_path: Path) -> None:
    """Rows that healing made of one differ after training: refused with the way out, which takes the first."""
    source = make_pair("bert", "gpt2").write(tmp_path / "source")
    conversion = ckptconv.pt2flax(source, tmp_path / "flax", "safetensors")
    assert any("--take-trained-row" in notice for notice in conversion.notices)
    name = "encoder.embeddings.token_type_embeddings.weight"
    spelt = next(
        key for key in open_checkpoint(tmp_path / "flax").weights.tensors if "token_type" in key
    )
    stored = open_checkpoint(tmp_path / "flax").weights.tensors[spelt]
    values = table(tmp_path / "flax", spelt).copy()
    values[0] += 1.0
    weights = tmp_path / "flax" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    (extent,) = stored.extents
    raw[extent.offset : extent.offset + extent.nbytes] = values.tobytes()
    weights.write_bytes(raw)
    with pytest.raises(SourceError, match="--take-trained-row"):
        ckptconv.flax2pt(tmp_path / "flax", tmp_path / "out")
    back = ckptconv.flax2pt(tmp_path / "flax", tmp_path / "out", take_trained_row=True)
    assert any("its first row is taken" in notice for notice in back.notices)
    assert np.array_equal(table(tmp_path / "out", name)[0], values[0])
    rest = table(source, name)[1:]
    assert np.array_equal(table(tmp_path / "out", name)[1:], rest)


@pytest.mark.frameworks
def test_the_real_class(tmp_path: Path) -> None:
    """A roberta pair that Flax's own class saved answers in PyTorch what it answered in Flax."""
    program = Path(__file__).parents[1] / "support" / "flax_positions.py"
    subprocess: Any = import_module("subprocess")
    flax = subprocess.run(
        [import_module("sys").executable, program, tmp_path / "flax"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    expected = np.asarray(json.loads(flax.stdout.splitlines()[-1]))
    ckptconv.flax2pt(tmp_path / "flax", tmp_path / "pt", positions="trained-in-flax")
    torch, transformers = import_module("torch"), import_module("transformers")
    model = transformers.EncoderDecoderModel.from_pretrained(
        tmp_path / "pt", attn_implementation="eager"
    ).eval()
    rng = np.random.default_rng(1)
    tokens, target = rng.integers(5, 90, (3, 20)), rng.integers(5, 90, (3, 9))
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor(tokens), decoder_input_ids=torch.tensor(target)
        ).logits.numpy()
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()
