"""What encoders of images and sound are probed with, and which of their places count: from configs alone."""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckptconv.base.errors import FrameworkError, SourceError, UsageError
from ckptconv.run.inputs import read_inputs
from ckptconv.run.modalities import modality_of
from ckptconv.run.modalities._audio import read_wave
from ckptconv.run.modalities.pixels import opened
from ckptconv.run.token_ids import special_tokens
from ckptconv.run.yardstick import Places
from ckptconv.schema.config import Config
from ckptconv.schema.model import Model, read_model
from ckptconv.verbs.outputs import require_answerable
from probing import CROSS, probes_of, supports
from wholes import config_of

DECODER = {"model_type": "gpt2", "vocab_size": 29, "n_positions": 40} | CROSS


def whole(family: str) -> Model:
    """Return the tiny model of one piece that the fixtures have."""
    return read_model(Config(config_of("seq2seq", family)))


def composite(kind: str, **encoder: Any) -> Model:
    """Return an encoder of images or speech before a small decoder."""
    model_type = f"{kind}-encoder-decoder"
    values = {"model_type": model_type, "encoder": encoder, "decoder": DECODER}
    return read_model(Config(values))


IMAGES = composite("vision", model_type="vit", image_size=[12, 8], patch_size=4, num_channels=2)
SPEECH = composite(
    "speech",
    model_type="wav2vec2",
    conv_kernel=[10, 3],
    conv_stride=[5, 2],
    conv_dim=[8, 8],
    add_adapter=True,
    num_adapter_layers=1,
)
MODELS = {
    "pixels": IMAGES,
    "samples": SPEECH,
    "whisper": whole("whisper"),
    "speech": whole("speech_to_text"),
}


def places_of(model: Model) -> Places:
    """Return how a model's inputs become places."""
    modality = modality_of(model)
    return Places(modality, modality.facts(model, special_tokens(model)))


def batch_of(model: Model, probe: str) -> dict[str, Any]:
    """Return the inputs of one probe, drawn for PyTorch and Flax."""
    probes = probes_of(model, runs=("pytorch", "flax"))
    return {key.partition(".")[2]: array for key, array in probes.items() if key.startswith(probe)}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_probes_can_be_fed(model: Model) -> None:
    """Every probe passes the check of a user's arrays, is the same again, and has what a probe must have."""
    modality, probes = modality_of(model), probes_of(model)
    names = {key.partition(".")[0] for key in probes}
    assert names >= {"full", "right", "left"}
    assert modality.generation_probe in names
    for name in names:
        batch = batch_of(model, name)
        assert list(modality.problems(batch, model)) == []
        assert batch.keys() >= {*modality.required(model), "decoder_input_ids"}
    again = probes_of(model)
    assert all(np.array_equal(array, again[key]) for key, array in probes.items())


def test_images_are_noise_flat_and_sloping() -> None:
    """Their size is the config's, which need not be square; one is flat, and one is brighter from corner to corner."""
    noise, left = batch_of(IMAGES, "full")["pixel_values"], batch_of(IMAGES, "left")["pixel_values"]
    assert noise.shape == (3, 2, 12, 8)
    assert noise.dtype == np.float32
    assert np.ptp(left[0], axis=(1, 2)).max() == 0
    assert (np.diff(left[1], axis=-1) > 0).all()
    assert (np.diff(left[1], axis=-2) > 0).all()


def test_sound_ends_early_and_falls_silent() -> None:
    """Two rows end early, under a mask; in another probe one row is silent from its middle on, and that counts."""
    for name in ("samples", "speech"):
        model = MODELS[name]
        main = next(iter(modality_of(model).inputs))
        right, left = batch_of(model, "right"), batch_of(model, "left")
        lengths = right["attention_mask"].sum(axis=1)
        assert lengths[0] > lengths[1] > lengths[2] > 0
        assert not right[main][2, lengths[2] :].any()
        assert left["attention_mask"].all()
        assert not left[main][1, -3:].any()


def test_whisper_gets_its_one_length_and_no_mask() -> None:
    """The class takes twice as many frames as there are positions."""
    batch = batch_of(MODELS["whisper"], "right")
    assert batch["input_features"].shape == (3, 11, 2 * 17)
    assert "attention_mask" not in batch


def test_a_decoder_of_whisper_has_no_more_tokens_than_positions() -> None:
    """They have a key of their own; and no row is padded on the left, which Flax's class numbers otherwise."""
    batch = batch_of(MODELS["whisper"], "left")
    assert batch["decoder_input_ids"].shape[1] == 29
    assert batch["decoder_attention_mask"][:, 0].all()
    notices = modality_of(MODELS["whisper"]).left_out(
        MODELS["whisper"], supports("pytorch", "flax")
    )
    assert any("numbers its positions by the mask" in notice for notice in notices)


def test_many_places_are_one_row() -> None:
    """A real Whisper has 1,500 states a row, and of all layers three rows would fill the memory."""
    large = read_model(Config(config_of("seq2seq", "whisper") | {"max_source_positions": 1500}))
    assert {len(array) for array in probes_of(large).values()} == {1}
    assert {len(batch_of(MODELS["whisper"], "full")["decoder_input_ids"])} == {3}


@pytest.mark.parametrize(
    ("places", "valid"),
    [(41, [41, 23, 11]), (21, [21, 12, 6])],
    ids=["frames", "after the adapter"],
)
def test_frames_count_where_their_samples_do(places: int, valid: list[int]) -> None:
    """Convolutions of kernel and stride leave frames of samples, and an adapter some of these."""
    batch = batch_of(SPEECH, "right")
    counted = places_of(SPEECH).valid(batch, "encoder.last", (3, places, 8))
    assert counted is not None
    lengths = counted.sum(axis=1)
    samples = batch["attention_mask"].sum(axis=1)
    frames = ((samples - 10) // 5 + 1 - 3) // 2 + 1
    expected = frames if places == 41 else (frames - 1) // 2 + 1
    assert lengths.tolist() == expected.tolist()
    assert lengths[0] == valid[0]


def test_all_patches_count_however_many_a_layer_has() -> None:
    """An image has no padding; a decoder's places are its tokens."""
    batch, places = batch_of(IMAGES, "right"), places_of(IMAGES)
    for count in (7, 3):
        counted = places.valid(batch, "encoder.1", (3, count, 8))
        assert counted is not None
        assert counted.all()
    decoder = places.valid(batch, "logits", (3, batch["decoder_input_ids"].shape[1], 29))
    assert decoder is not None
    assert np.array_equal(decoder, batch["decoder_attention_mask"] == 1)


@pytest.mark.parametrize(
    ("name", "arrays", "expected"),
    [
        ("pixels", {"pixel_values": np.zeros((1, 2, 12, 9))}, "expected (rows, 2, 12, 8)"),
        ("pixels", {"pixel_values": np.full((1, 2, 12, 8), np.inf)}, "not all of it is finite"),
        ("pixels", {"pixel_values": np.zeros((1, 2, 12, 8), int)}, "expected floats"),
        ("pixels", {"input_ids": np.zeros((1, 3), int)}, "no pixel_values"),
        ("samples", {"input_values": np.zeros((1, 9))}, "at least 20 samples"),
        ("whisper", {"input_features": np.zeros((1, 11, 33))}, "expected (rows, 11, 34)"),
        ("speech", {"input_features": np.zeros((1, 20, 12))}, "expected (rows, frames, 11)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    name: str, arrays: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """What is wrong is named, with what the class takes."""
    np.savez(tmp_path / "inputs.npz", allow_pickle=True, **arrays)
    with pytest.raises(SourceError) as refusal:
        read_inputs(tmp_path / "inputs.npz", MODELS[name])
    assert expected in str(refusal.value)


def test_masks_of_sound_are_on_the_right(tmp_path: Path) -> None:
    """A hole in a row, or a mask of another shape, is refused."""
    values = np.zeros((1, 60))
    for mask, expected in (
        (np.eye(1, 60, 3, int), "must be on the right"),
        (np.ones((1, 9), int), "shape [1, 9]"),
    ):
        np.savez(tmp_path / "inputs.npz", input_values=values, attention_mask=mask)
        with pytest.raises(SourceError) as refusal:
            read_inputs(tmp_path / "inputs.npz", SPEECH)
        assert expected in str(refusal.value)


def test_arrays_get_what_they_lack(tmp_path: Path) -> None:
    """Without a mask every sample counts, and the decoder gets its start token."""
    np.savez(tmp_path / "inputs.npz", input_values=np.ones((2, 60)))
    probes = read_inputs(tmp_path / "inputs.npz", SPEECH).probes
    assert probes["inputs.input_values"].dtype == np.float32
    assert probes["inputs.attention_mask"].all()
    assert probes["inputs.decoder_input_ids"].shape == (2, 1)


def test_a_line_names_a_file_beside_it(tmp_path: Path) -> None:
    """An image is found from the folder of the file on; one that is not there is refused, with the line."""
    (tmp_path / "one.png").write_bytes(b"")
    path = tmp_path / "inputs.jsonl"
    path.write_text(json.dumps({"image": "one.png", "target": "1"}))
    (example,) = read_inputs(path, IMAGES).examples
    assert (Path(example.source), example.target) == (tmp_path / "one.png", "1")
    path.write_text(json.dumps({"image": "two.png"}))
    with pytest.raises(SourceError, match=r"line 1: .*two\.png: no such file"):
        read_inputs(path, IMAGES)
    (tmp_path / "two.png").mkdir()
    with pytest.raises(SourceError, match=r"line 1: .*two\.png: is a directory, not a file"):
        read_inputs(path, IMAGES)
    with pytest.raises(UsageError, match=r"give an image file, not .*two\.png': is a directory"):
        require_answerable(IMAGES, [str(tmp_path / "two.png")])


def pictured(path: Path) -> Path:
    """Write a picture of noise in grey, 40 x 40."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_images_have_the_channels_that_a_model_reads(tmp_path: Path) -> None:
    """A picture in grey becomes one in colours, or an array with an axis for its channel; other files are refused."""
    picture = pictured(tmp_path / "grey.png")
    assert np.asarray(opened(picture, 3)).shape == (40, 40, 3)
    assert opened(picture, 1).shape == (40, 40, 1)
    for content in (b"", b"no image", picture.read_bytes()[:-100]):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(SourceError, match=r"broken\.png: not an image that Pillow can read"):
            opened(tmp_path / "broken.png", 3)


def test_an_image_is_no_file_of_inputs(tmp_path: Path) -> None:
    """Whoever gives an image to `--inputs` is told which option takes it."""
    with pytest.raises(SourceError, match=r"inputs are \.jsonl.*; --text takes an image file"):
        read_inputs(pictured(tmp_path / "grey.png"), IMAGES)


def test_an_image_to_read_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence is refused as wrong usage; without Pillow an image is too, with what to install."""
    picture = pictured(tmp_path / "grey.png")
    require_answerable(IMAGES, [str(picture)])
    with pytest.raises(
        UsageError, match="reads pixels, not sentences; give an image file, not '3 May'"
    ):
        require_answerable(IMAGES, [str(picture), "3 May"])
    require_answerable(whole("t5"), ["3 May"])
    monkeypatch.setitem(sys.modules, "PIL", None)  # as if it were not installed
    with pytest.raises(FrameworkError, match=r"needs PIL, .*\n.*\[images\]"):
        require_answerable(IMAGES, [str(picture)])


def test_files_with_many_places_run_alone() -> None:
    """Eight pictures run together; of a real Whisper's length one sound, as in the probes."""
    large = read_model(Config(config_of("seq2seq", "whisper") | {"max_source_positions": 1500}))
    rows = [
        modality_of(model).facts(model, special_tokens(model))["rows"] for model in (IMAGES, large)
    ]
    assert rows == [8, 1]


def test_sounds_are_read_from_wave_files(tmp_path: Path) -> None:
    """Sixteen bits of one channel become numbers between -1 and 1; anything else is refused."""
    path = tmp_path / "sound.wav"
    for channels in (1, 2):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.array([0, 16384, -32768, 0], "<i2").tobytes())
        if channels == 1:
            samples, rate = read_wave(path)
            assert samples.tolist() == [0, 0.5, -1, 0]
            assert rate == 8000
    with pytest.raises(SourceError, match="expected one channel of 16 bits, found 2"):
        read_wave(path)
    path.write_bytes(b"RIFF")
    with pytest.raises(SourceError, match="not a WAVE file"):
        read_wave(path)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8))
    whole = path.read_bytes()
    for cut, why in ((1, "cut short"), (4, "4 samples are announced, 2 are whole"), (8, "without")):
        path.write_bytes(whole[:-cut])
        with pytest.raises(SourceError, match=why):
            read_wave(path)
    path.write_bytes(whole.replace(b"data\x08\0\0\0", b"data\xff\xff\xff\xff"))  # from a pipe
    assert read_wave(path)[0].tolist() == [0, 0, 0, 0]
