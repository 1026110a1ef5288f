"""Input that contradicts itself, of models beyond the text pair: refused by every verb, once, with nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ckptconv
from conftest import Cli
from wholes import checkpoint

pytestmark = pytest.mark.thorough

Values = dict[str, Any]
WRITING = ("normalize", "split", "pt2tf", "pt2flax")
REFUSED = 3


def edited(folder: Path, change: Callable[[Values], Values]) -> Path:
    """Change a checkpoint's config."""
    path = folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return folder


def require_refused(cli: Cli, source: Path, message: str, verbs: tuple[str, ...] = WRITING) -> None:
    """Run verbs on a checkpoint: each must refuse it with one message, and leave nothing behind."""
    target = source.parent / "target"
    runs = {verb: cli(verb, source, target) for verb in verbs}
    runs["verify"] = cli("verify", source, source, "--level", "weights")
    for verb, run in runs.items():
        assert run.code == REFUSED, (verb, run)
        assert run.err.count(message) == 1, (verb, run)
        assert run.out == ""
    assert not target.exists()


@pytest.mark.parametrize(
    ("kind", "family", "stated", "right"),
    [
        ("vision", "vit", "encoder-decoder", "vision-encoder-decoder"),
        ("vision", "vit", "speech-encoder-decoder", "vision-encoder-decoder"),
        ("speech", "wav2vec2", "vision-encoder-decoder", "speech-encoder-decoder"),
    ],
)
def test_a_config_that_lies_about_what_is_read(
    kind: str, family: str, stated: str, right: str, tmp_path: Path, cli: Cli
) -> None:
    """The message names what was stated, what the encoder reads, and the model type of such a pair."""
    source = checkpoint(tmp_path / family, kind, family)
    edited(source, lambda config: config | {"model_type": stated})
    require_refused(cli, source, f"a pair with it is {right!r}")
    inspection = ckptconv.inspect(source)
    assert f"'model_type' is {stated!r}" in inspection.refusal


def test_a_config_of_another_modality_than_the_weights(tmp_path: Path, cli: Cli) -> None:
    """A spectrogram's model that is called one of text lacks tensors, and has others: all of it is said at once."""
    source = checkpoint(tmp_path / "whisper", "seq2seq", "whisper")
    edited(source, lambda config: config | {"model_type": "bart"})
    require_refused(cli, source, "unexpected  model.encoder.conv1.weight", ("normalize", "split"))
    assert len(ckptconv.inspect(source).problems) > 1


@pytest.mark.parametrize(
    ("family", "twin", "table"),
    [
        ("t5", "encoder.embed_tokens.weight", "shared.weight"),
        ("bart", "model.decoder.embed_tokens.weight", "model.shared.weight"),
        ("whisper", "proj_out.weight", "model.decoder.embed_tokens.weight"),
    ],
)
def test_a_shared_table_that_is_stored_twice_with_other_bytes(
    family: str, twin: str, table: str, tmp_path: Path, cli: Cli
) -> None:
    """A model has one table of words: two that differ are no model, whichever name the class would read."""
    once = ckptconv.inspect(checkpoint(tmp_path / "once", "seq2seq", family)).tensors
    (spec,) = (line.spec for line in once if line.spec.name in (twin, table))
    missing = twin if spec.name == table else table
    source = checkpoint(tmp_path / family, "seq2seq", family, {missing: list(spec.shape)})
    require_refused(cli, source, "from " + table)
    assert any(tie.broken for tie in ckptconv.inspect(source, stats=True).ties)


def test_a_shared_table_that_differs_between_the_groups_of_a_file(tmp_path: Path, cli: Cli) -> None:
    """TF's T5 lists its table in three layers, and its class reads each from its own: both paths are named."""
    source = checkpoint(tmp_path / "t5", "seq2seq", "t5")
    ckptconv.pt2tf(source, tmp_path / "tf")
    with h5py.File(tmp_path / "tf/tf_model.h5", "r+") as file:
        name = next(
            name.decode() for name in file["decoder"].attrs["weight_names"] if b"shared" in name
        )
        values = file["decoder"][name][()]
        values[1, 2] = np.nextafter(values[1, 2], np.float32(9))
        del file["decoder"][name]
        file["decoder"][name] = values
    require_refused(cli, tmp_path / "tf", f"'decoder/{name}' have one name", ("tf2pt",))


VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 15, "width": 15}}
WHISPER = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 11}


@pytest.mark.parametrize(
    ("kind", "family", "processor", "message"),
    [
        (
            "vision",
            "vit",
            VIT | {"size": {"height": 224, "width": 224}},
            "images of 224 x 224, but",
        ),
        ("vision", "vit", VIT | {"image_std": [0.5]}, "'image_std' is of 1 channels, but"),
        (
            "vision",
            "vit",
            {"sampling_rate": 16000, "feature_size": 1},
            "is of a processor of sound",
        ),
        ("seq2seq", "whisper", WHISPER | {"feature_size": 80}, "80, but the encoder reads 11 bins"),
        ("seq2seq", "whisper", WHISPER | {"chunk_length": 30}, "3000 frames, but"),
        ("seq2seq", "whisper", VIT, "is of a processor of images, but the encoder reads sound"),
        ("seq2seq", "whisper", WHISPER | {"sampling_rate": 0}, "which is no number of samples"),
    ],
)
def test_a_processor_that_does_not_fit(
    kind: str, family: str, processor: Values, message: str, tmp_path: Path, cli: Cli
) -> None:
    """What it makes the encoder cannot read: said before anything is converted or compared, and by `inspect`."""
    source = checkpoint(tmp_path / family, kind, family)
    (source / "preprocessor_config.json").write_text(json.dumps(processor))
    require_refused(cli, source, message)
    targets = ckptconv.inspect(source).targets
    assert targets
    assert all(message in target.refusal for target in targets)


def test_a_part_with_a_processor_that_does_not_fit(tmp_path: Path, cli: Cli) -> None:
    """`join` takes the encoder's processor along, so it looks at it as well."""
    source = checkpoint(tmp_path / "whole", "vision", "vit")
    config = json.loads((source / "config.json").read_text())
    for part in ("encoder", "decoder"):
        shutil.copytree(source, tmp_path / part)
        edited(tmp_path / part, lambda _, part=part: config[part])  # type: ignore[misc]
    (tmp_path / "encoder/preprocessor_config.json").write_text(json.dumps(VIT | {"size": 224}))
    run = cli("join", tmp_path / "encoder", tmp_path / "decoder", tmp_path / "target")
    assert run.code == REFUSED
    assert "images of 224 x 224" in run.err
    assert not (tmp_path / "target").exists()


def test_what_no_config_can_confirm_is_a_remark(tmp_path: Path) -> None:
    """The rate of samples stands in no model's config; processors that differ make other inputs of one file."""
    source = checkpoint(tmp_path / "whisper", "seq2seq", "whisper")
    path = source / "preprocessor_config.json"
    path.write_text(json.dumps(WHISPER | {"sampling_rate": 8000}))
    result = ckptconv.normalize(source, tmp_path / "normal")
    assert any("8000 samples a second" in notice for notice in result.notices)
    path.write_text(json.dumps(WHISPER | {"sampling_rate": 16000, "processor_class": "Other"}))
    verification = ckptconv.verify(source, tmp_path / "normal", "weights")
    assert verification.matches
    assert any(
        notice.endswith("preprocessor_config.json: sampling_rate")
        for notice in verification.weights.notices
    )
