"""Verbs on models beyond the text pair, from the names that the real classes have; no framework runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ckptconv
from ckptconv.base.errors import PlanError, SourceError
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.convert import WriteOptions
from wholes import checkpoint


def test_one_piece_gives_the_side_that_a_class_loads(tmp_path: Path) -> None:
    """Of T5 `split` writes the encoder alone, says why not the decoder, and `inspect` knows both beforehand."""
    source = checkpoint(tmp_path / "t5", "seq2seq", "t5")
    (source / "README.md").write_text("A model.")
    answers = {target.verb: target for target in ckptconv.inspect(source).targets}
    result = ckptconv.split(source, tmp_path / "out")
    assert [part.name for part in result.parts] == ["encoder"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "SHA256SUMS",
        "ckptconv.json",
        "encoder",
    ]
    assert not any(target.refusal for target in answers.values())
    assert set(answers["split"].notices) <= set(result.notices)
    assert any("decoder: left out" in notice for notice in result.notices)
    assert any("not taken along: README.md" in notice for notice in result.notices)
    inspection = ckptconv.inspect(tmp_path / "out/encoder")
    assert (inspection.kind, inspection.problems, inspection.unused) == ("encoder", (), ())
    reasons = [target.refusal for target in inspection.targets]
    assert "AutoModel builds all of T5Model" in reasons[0]
    assert "cannot be a decoder" in reasons[1]
    for verb in (ckptconv.pt2tf, ckptconv.normalize):
        with pytest.raises(SourceError, match="this is one side of 't5' by itself"):
            verb(tmp_path / "out/encoder", tmp_path / "again")


def test_words_that_a_class_would_draw_anew(tmp_path: Path) -> None:
    """Of an untied BART, transformers saves one name of three and loads none for the others: said, and not run."""
    once = checkpoint(tmp_path / "bart", "seq2seq", "bart", {"lm_head.weight": [53, 21]})
    config = json.loads((once / "config.json").read_text()) | {"tie_word_embeddings": False}
    (once / "config.json").write_text(json.dumps(config))
    words = "model.encoder.embed_tokens.weight and model.decoder.embed_tokens.weight"
    refusal = f"no {words.replace('and', 'and no')}: the config unties the embeddings"
    with pytest.raises(SourceError, match=refusal):
        ckptconv.verify(once, once)
    with pytest.raises(SourceError, match=refusal):
        ckptconv.record(once, tmp_path / "a.trace")
    assert ckptconv.verify(once, once, "weights").matches
    result = ckptconv.normalize(once, tmp_path / "whole")
    assert any(notice.startswith(f"{words}: not in the source") for notice in result.notices)
    assert not any(
        "not in the source" in notice
        for notice in ckptconv.normalize(tmp_path / "whole", tmp_path / "again").notices
    )
    names = open_checkpoint(tmp_path / "whole").weights.tensors
    assert {f"model.{side}embed_tokens.weight" for side in ("encoder.", "decoder.")} <= names.keys()


def test_a_table_that_tf_lists_in_several_layers(tmp_path: Path) -> None:
    """TF's T5 lists its words in three groups of the file: one data set, from which PyTorch's model comes back."""
    source = checkpoint(tmp_path / "t5", "seq2seq", "t5")
    ckptconv.pt2tf(source, tmp_path / "tf")
    ckptconv.tf2pt(tmp_path / "tf", tmp_path / "back")
    assert ckptconv.diff(source, tmp_path / "back").matches


def test_two_models_with_nothing_in_common_are_not_run(tmp_path: Path) -> None:
    """A mismatch, with no framework started: the class of the one could not load the other."""
    bart = checkpoint(tmp_path / "bart", "seq2seq", "bart")
    result = ckptconv.verify(bart, checkpoint(tmp_path / "t5", "seq2seq", "t5"))
    assert (result.matches, result.outputs) == (False, None)
    assert result.weights.notices[-1].startswith("the two have no tensor in common")


def test_a_side_alone_is_compared_with_its_whole(tmp_path: Path) -> None:
    """By the names that both have; what the side leaves out is told, and no value differs."""
    source = checkpoint(tmp_path / "bart", "seq2seq", "bart")
    ckptconv.split(source, tmp_path / "out")
    result = ckptconv.diff(source, tmp_path / "out/decoder")
    assert not result.matches
    relations = {tensor.verdict for tensor in result.tensors if tensor.differs}
    assert relations == {"only in A", "only in B"}
    assert any("a side of one piece" in notice for notice in result.notices)


def test_one_piece_without_such_a_class_is_not_taken_apart(tmp_path: Path) -> None:
    """`split` refuses NLLB, with the reason that `inspect` gives; everything else would take it."""
    source = checkpoint(tmp_path / "m2m", "seq2seq", "m2m_100")
    answers = {target.verb: target.refusal for target in ckptconv.inspect(source).targets}
    with pytest.raises(
        SourceError, match="no class that holds its encoder or its decoder"
    ) as error:
        ckptconv.split(source, tmp_path / "out")
    assert answers == {"split": str(error.value), "normalize": "", "pt2tf": "", "pt2flax": ""}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "family", "reads"),
    [
        ("vision", "vit", "images of 3 x 15 x 15"),
        ("speech", "wav2vec2", "sound as samples"),
        ("seq2seq", "whisper", "sound as spectrograms of 11 bins"),
        ("seq2seq", "t5", None),
    ],
)
def test_inspect_says_what_an_encoder_reads(
    kind: str, family: str, reads: str | None, tmp_path: Path
) -> None:
    """Images with their size, samples, spectrograms; of text nothing is said."""
    source = checkpoint(tmp_path / family, kind, family)
    assert ckptconv.inspect(source).sides[0].reads == reads


def test_a_pair_of_images_comes_apart_and_together(tmp_path: Path) -> None:
    """`split` and `join` give an image pair's bytes back, with and without the whole's config beside the parts."""
    source = checkpoint(tmp_path / "vit", "vision", "vit")
    ckptconv.split(source, tmp_path / "parts")
    ckptconv.join(tmp_path / "parts/encoder", tmp_path / "parts/decoder", tmp_path / "joined")
    (tmp_path / "parts/config.json").unlink()
    ckptconv.join(tmp_path / "parts/encoder", tmp_path / "parts/decoder", tmp_path / "anew")
    for folder in ("joined", "anew"):
        config = json.loads((tmp_path / folder / "config.json").read_text())
        assert config["model_type"] == "vision-encoder-decoder"
        assert config["architectures"] == ["VisionEncoderDecoderModel"]
        assert ckptconv.diff(source, tmp_path / folder).matches


INDEX = "encoder.encoder.layers.0.blocks.0.attention.self.relative_position_index"


def changed(folder: Path, name: str) -> Path:
    """Change the first byte of a tensor, where it lies."""
    stored = open_checkpoint(folder).weights.tensors[name]
    with stored.path.open("r+b") as file:
        file.seek(stored.chunks[0].offset)
        (byte,) = file.read(1)
        file.seek(stored.chunks[0].offset)
        file.write(bytes([byte ^ 1]))
    return folder


@pytest.mark.thorough
def test_integers_that_follow_from_a_config(tmp_path: Path) -> None:
    """Swin's numbers of distances: int64 to int32 and back, whatever the dtype; others are no such model."""
    source = checkpoint(tmp_path / "swin", "vision", "swin")
    ckptconv.pt2tf(source, tmp_path / "tf", options=WriteOptions("float16"))
    ckptconv.tf2pt(tmp_path / "tf", tmp_path / "back")
    converted, back = (open_checkpoint(tmp_path / name).weights.tensors for name in ("tf", "back"))
    index = next(name for name in sorted(converted) if name.endswith("relative_position_index:0"))
    assert (converted[index].spec.dtype, back[INDEX].spec.dtype) == ("int32", "int64")
    assert ckptconv.verify(source, tmp_path / "tf", "weights").matches
    assert ckptconv.diff(source, tmp_path / "back").matches
    wrong = changed(tmp_path / "tf", index)
    verification = ckptconv.verify(source, wrong, "weights")
    assert [difference.name for difference in verification.weights.differences] == [index]
    assert not ckptconv.diff(source, wrong).matches
    with pytest.raises(PlanError, match="from what the class computes: which row of the table"):
        ckptconv.tf2pt(wrong, tmp_path / "again")
    for verb in (ckptconv.normalize, ckptconv.split, ckptconv.verify):
        with pytest.raises(PlanError, match=INDEX):
            verb(changed(source, INDEX), tmp_path / "back")
        changed(source, INDEX)
