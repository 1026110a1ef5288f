"""`verify` of models of images, sound and one piece: the real classes run on what their encoders read."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptconv
from ckptconv.binding.bind import bind_whole
from ckptconv.schema.model import read_model
from ckptconv.stores.checkpoint import open_checkpoint
from ckptconv.verbs.verify import Verification
from wholes import COMPOSITES, config_of, families, names, random_model, torch_and_transformers

pytestmark = pytest.mark.frameworks

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 53,
    "hidden_size": 21,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 29,
    "is_decoder": True,
    "add_cross_attention": True,
}
TROCR: dict[str, Any] = {
    "model_type": "trocr",
    "vocab_size": 53,
    "d_model": 21,
    "decoder_layers": 1,
    "decoder_attention_heads": 3,
    "decoder_ffn_dim": 37,
    "max_position_embeddings": 29,
    "is_decoder": True,
    "add_cross_attention": True,
}


def source(folder: Path, kind: str, family: str, **changes: Any) -> Path:
    """Save a random model of a family in a kind of model, as PyTorch's class does."""
    whole_class = f"{COMPOSITES[kind]}Model" if kind in COMPOSITES else ""
    whole_class = whole_class or names(kind, family)["variants"]["plain"]["pytorch"]["class"]
    return random_model(whole_class, config_of(kind, family) | changes, folder / "pytorch")


def sound(checkpoint: Path, folder: Path) -> Path:
    """Give a Whisper the processor of one second, and return a file of inputs that names a sound."""
    processor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 11,
        "chunk_length": 1,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 16000,
        "nb_max_frames": 100,
        "sampling_rate": 16000,
    }
    (checkpoint / "preprocessor_config.json").write_text(json.dumps(processor))
    noise = np.random.default_rng(0).integers(-5000, 5000, 12000)
    with wave.open(str(folder / "noise.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(noise.astype("<i2").tobytes())
    (folder / "inputs.jsonl").write_text(json.dumps({"audio": "noise.wav"}))
    return folder / "inputs.jsonl"


def tokenizer(checkpoint: Path) -> None:
    """Give a checkpoint a tokenizer whose words are numbers, with its special tokens among them."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    generation = json.loads((checkpoint / "generation_config.json").read_text())
    words = {str(token): token for token in range(53)}
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")),
        unk_token="0",
        pad_token=str(generation["pad_token_id"]),
        eos_token=str(generation["eos_token_id"]),
    ).save_pretrained(checkpoint)


def compared(verification: Verification) -> set[str]:
    """Return the quantities that were compared, of a verification that matches and measured all that it must."""
    assert verification.outputs is not None
    assert verification.outputs.loading == ()
    assert verification.matches
    compared = {quantity.name for quantity in verification.outputs.quantities}
    assert compared >= {"encoder.1", "encoder.last", "decoder.1", "logits"}
    return compared


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        pytest.param("vision", "vit", marks=pytest.mark.soak),  # tests/test_trained_wider.py has it
        ("seq2seq", "whisper"),
        ("seq2seq", "m2m_100"),
        pytest.param("vision", "deit", marks=pytest.mark.soak),
        pytest.param("vision", "swin", marks=pytest.mark.soak),
        pytest.param("vision", "data2vec-vision", marks=pytest.mark.soak),
        pytest.param("seq2seq", "speech_to_text", marks=pytest.mark.soak),
        pytest.param("seq2seq", "led", marks=pytest.mark.soak),
        pytest.param("seq2seq", "plbart", marks=pytest.mark.soak),
        pytest.param("vision", "vit_msn", marks=pytest.mark.soak),
    ],
)
def test_tf(kind: str, family: str, tmp_path: Path) -> None:
    """States, attention, logits, cached steps and both searches match; a class of another family is said.

    Whisper hears a sound too, of which PyTorch and numpy make spectrograms that differ in their last bits; and answers
    it: TF's class counts the start token among the 20 of the default limit, PyTorch's does not.
    """
    spoken = family == "whisper"
    checkpoint = source(tmp_path, kind, family, **({"max_source_positions": 50} if spoken else {}))
    inputs = sound(checkpoint, tmp_path) if spoken else None
    texts = [str(tmp_path / "noise.wav")] if spoken else []
    if spoken:
        tokenizer(checkpoint)
    ckptconv.pt2tf(checkpoint, tmp_path / "tf")
    verification = ckptconv.verify(checkpoint, tmp_path / "tf", inputs=inputs, texts=texts)
    assert "cached" in compared(verification)
    assert verification.outputs is not None
    said_so = any("is held by the class of" in notice for notice in verification.outputs.notices)
    assert said_so == (family in ("m2m_100", "plbart", "vit_msn"))
    for _, first, second in verification.outputs.texts:
        assert (len(first.split()), len(second.split())) == (20, 19)
        assert any(
            "tf after 19 tokens, pytorch after 20" in line for line in verification.outputs.notices
        )


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "family", "changes"),
    [
        ("vision", "vit", {"decoder": TROCR}),
        ("vision", "dinov2", {}),
        ("vision", "beit", {}),
        ("speech", "wav2vec2", {}),
        ("speech", "hubert", {}),
        ("seq2seq", "whisper", {"tie_word_embeddings": False}),
        ("seq2seq", "m2m_100", {}),
    ],
    ids=["trocr", "dinov2", "beit", "wav2vec2", "hubert", "whisper", "m2m_100"],
)
def test_flax(kind: str, family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """The same in Flax."""
    checkpoint = source(tmp_path, kind, family, **changes)
    ckptconv.pt2flax(checkpoint, tmp_path / "flax")
    assert "cached" in compared(ckptconv.verify(checkpoint, tmp_path / "flax"))


@pytest.mark.soak
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_class_that_cannot_generate_is_compared_without(model_type: str, tmp_path: Path) -> None:
    """With `forward_only` Flax's class answers what PyTorch's does, with RoBERTa's positions moved; why is said."""
    decoder = BERT | {"model_type": model_type, "max_position_embeddings": 33}
    checkpoint = source(tmp_path, "vision", "vit", decoder=decoder)
    conversion = ckptconv.pt2flax(checkpoint, tmp_path / "flax", forward_only=True)
    assert any("for the forward pass alone" in notice for notice in conversion.notices)
    verification = ckptconv.verify(checkpoint, tmp_path / "flax")
    assert "cached" not in compared(verification)
    assert verification.outputs is not None
    assert any("generation is not compared" in notice for notice in verification.outputs.notices)


def test_sound_by_a_trace(tmp_path: Path) -> None:
    """A trace holds samples as floats, and the same checkpoint matches it; padded frames are left out."""
    checkpoint = source(tmp_path, "speech", "wav2vec2")
    trace = tmp_path / "source.trace"
    verification = ckptconv.verify(checkpoint, checkpoint, save_trace=trace)
    assert compared(verification) >= {"cached", "loss", "encoder.2.attention"}
    assert verification.outputs is not None
    assert any("padded encoder positions" in notice for notice in verification.outputs.notices)


@pytest.mark.soak
def test_the_bias_of_the_logits_counts(tmp_path: Path) -> None:
    """It is a buffer to PyTorch, and trained in Marian: what it reaches is measured as of any weight."""
    checkpoint = source(tmp_path, "seq2seq", "marian")
    outputs = ckptconv.verify(checkpoint, checkpoint).outputs
    assert outputs is not None
    assert outputs.coverage is not None
    reached = {tensor.name: tensor.reached for tensor in outputs.coverage.tensors}
    assert reached["final_logits_bias"] == 53


@pytest.mark.soak
def test_which_classes_draw_words_anew(tmp_path: Path) -> None:
    """Untied and saved with one name of three, the others are drawn anew by just the classes that the tables name."""
    torch, transformers = torch_and_transformers()
    measured, stated = {}, {}
    for family in families("seq2seq", "pytorch"):
        config = config_of("seq2seq", family) | {"tie_word_embeddings": False}
        cls = getattr(
            transformers, names("seq2seq", family)["variants"]["plain"]["pytorch"]["class"]
        )
        model = cls(transformers.AutoConfig.for_model(**config))
        model.save_pretrained(tmp_path / family)
        loaded = cls.from_pretrained(tmp_path / family).named_parameters(remove_duplicate=False)
        before = dict(model.named_parameters(remove_duplicate=False))
        measured[family] = {name for name, value in loaded if not torch.equal(value, before[name])}
        checkpoint = open_checkpoint(tmp_path / family)
        stated[family] = set(bind_whole(read_model(checkpoint.config), checkpoint).drawn())
    assert stated == measured
    assert {family for family, drawn in stated.items() if drawn} == {
        "bart",
        "bigbird_pegasus",
        "m2m_100",
        "mbart",
        "plbart",
    }
