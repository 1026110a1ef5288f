"""`split` beyond the pair of text: what a class of transformers loads by itself, against that class and the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ckptconv
from ckptconv.base.errors import SourceError
from ckptconv.schema.family import FAMILIES
from wholes import config_of, names, random_model, torch_and_transformers

ALONE = sorted(
    name
    for name, family in FAMILIES.items()
    if family.whole is not None and (family.whole.sides or family.decoder)
)
REFUSED = {("mvp", "prompts"), ("marian", "apart")}
"""Variants with tensors that the decoder's class has no place for, or another size of."""
SAMPLE = {
    ("t5", "plain"),
    ("longt5", "gated untied"),
    ("bart", "plain"),
    ("marian", "plain"),
    ("prophetnet", "untied"),
    ("whisper", "plain"),
}
"""A shared table, one that is asked for twice, one with positions to be made, another prefix, another head."""
DEEP = {"encoder_layers": 1, "decoder_layers": 3}


def variants() -> list[Any]:
    """Return every variant that PyTorch can build of the families with a side that stands alone."""
    return [
        pytest.param(
            family,
            variant,
            id=f"{family}-{variant}".replace(" ", "_"),
            marks=() if (family, variant) in SAMPLE else pytest.mark.soak,
        )
        for family in ALONE
        for variant, answers in names("seq2seq", family)["variants"].items()
        if "class" in answers["pytorch"] and (family, variant) not in REFUSED
    ]


def one_piece(folder: Path, family: str, config: dict[str, Any], *, bias: bool = False) -> Path:
    """Save a random model of one piece whose tables of words are one, with or without a bias of its logits."""
    torch, transformers = torch_and_transformers()
    pytorch_class = names("seq2seq", family)["variants"]["plain"]["pytorch"]["class"]
    random_model(pytorch_class, config, folder / "drawn")
    drawn = getattr(transformers, pytorch_class).from_pretrained(folder / "drawn")
    with torch.no_grad():
        if hasattr(drawn, "final_logits_bias") and not bias:
            drawn.final_logits_bias.zero_()
        words = drawn.get_input_embeddings().weight
        for side in (drawn.get_encoder(), drawn.get_decoder()):
            table = getattr(side, "embed_tokens", getattr(side, "word_embeddings", None))
            if table is not None:
                table.weight.copy_(words)
    drawn.save_pretrained(folder / "whole", safe_serialization=False)
    return folder / "whole"


def states_and_logits(folder: Path, family: str) -> tuple[Any, Any, Any]:
    """Return the encoder's inputs and states, and the logits, of the class of one piece."""
    torch, transformers = torch_and_transformers()
    pytorch_class = names("seq2seq", family)["variants"]["plain"]["pytorch"]["class"]
    whole = getattr(transformers, pytorch_class).from_pretrained(folder).eval()
    if family == "whisper":
        shape = 2, whole.config.num_mel_bins, 2 * whole.config.max_source_positions
        inputs = {"input_features": torch.linspace(-2, 2, torch.Size(shape).numel()).view(shape)}
    else:
        inputs = {"input_ids": torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])}
    with torch.inference_mode():
        logits = whole(**inputs, decoder_input_ids=tokens()).logits
        return inputs, whole.get_encoder()(**inputs).last_hidden_state, logits


def tokens() -> Any:
    """Return two rows for the decoder."""
    torch, _ = torch_and_transformers()
    return torch.tensor([[5, 6, 7], [8, 9, 5]])


def loaded(folder: Path) -> Any:
    """Load what `split` wrote with the class that its config names; nothing may be missing or left over."""
    _, transformers = torch_and_transformers()
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    model, problems = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(problems.values()), problems
    return model.eval()


@pytest.mark.frameworks
@pytest.mark.parametrize(("family", "variant"), variants())
def test_a_side_alone_answers_as_in_the_whole(family: str, variant: str, tmp_path: Path) -> None:
    """The class of each side that is written loads all of it, and gives the whole's states or logits, bit for bit."""
    torch, _ = torch_and_transformers()
    whole = one_piece(tmp_path, family, config_of("seq2seq", family, variant))
    inputs, states, logits = states_and_logits(whole, family)
    result = ckptconv.split(whole, tmp_path / "parts")
    assert result.parts
    for part in result.parts:
        model = loaded(tmp_path / "parts" / part.name)
        reading = {"encoder_hidden_states": states}
        if family == "whisper":  # its attention fails with a cache of its own
            reading = {"encoder_outputs": (states,), "use_cache": False}
        with torch.inference_mode():
            if part.name == "encoder":
                assert torch.equal(model(**inputs).last_hidden_state, states)
            else:
                assert torch.equal(model(tokens(), **reading).logits, logits)


@pytest.mark.frameworks
def test_a_decoder_that_stood_alone_is_one_of_a_pair(tmp_path: Path) -> None:
    """`join` takes what `split` wrote of BART as it takes BART itself, with more layers than its encoder had too."""
    torch, transformers = torch_and_transformers()
    whole = one_piece(tmp_path, "bart", config_of("seq2seq", "bart") | DEEP)
    ckptconv.split(whole, tmp_path / "parts")
    width, heads = (
        config_of("seq2seq", "bart")[key] for key in ("d_model", "encoder_attention_heads")
    )
    encoder = transformers.BertConfig(
        vocab_size=50,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=heads,
        intermediate_size=8,
    )
    transformers.BertModel(encoder).save_pretrained(tmp_path / "bert")
    for name, decoder in (("one", tmp_path / "parts/decoder"), ("two", whole)):
        ckptconv.join(tmp_path / "bert", decoder, tmp_path / name)
    assert not any(
        tensor.differs for tensor in ckptconv.diff(tmp_path / "one", tmp_path / "two").tensors
    )
    pair, problems = transformers.EncoderDecoderModel.from_pretrained(
        tmp_path / "one", output_loading_info=True
    )
    assert not any(problems.values())
    with torch.inference_mode():
        pair.eval()(tokens(), decoder_input_ids=tokens(), use_cache=True)


@pytest.mark.frameworks
def test_a_bias_of_the_logits_keeps_a_decoder_from_standing_alone(tmp_path: Path) -> None:
    """No decoder's class has one: what a Marian was trained with is refused, and `inspect --stats` says the same."""
    whole = one_piece(tmp_path, "marian", config_of("seq2seq", "marian"), bias=True)
    with pytest.raises(SourceError, match="MarianForCausalLM adds no bias to its logits"):
        ckptconv.split(whole, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    (split,) = (target for target in ckptconv.inspect(whole).targets if target.verb == "split")
    assert split.converts
    assert any("final_logits_bias must hold" in condition for condition in split.conditions)
    answers = ckptconv.inspect(whole, stats=True).targets
    (split,) = (target for target in answers if target.verb == "split")
    assert "cannot hold: final_logits_bias" in split.refusal


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("family", "variant", "reason"),
    [
        (
            "mvp",
            "prompts",
            "self_attn_prompt.prompt_embedding.weight: this class has no place for it",
        ),
        ("marian", "apart", "MarianForCausalLM is what holds the decoder by itself"),
    ],
)
@pytest.mark.soak
def test_what_the_class_of_a_side_does_not_take_is_refused(
    family: str, variant: str, reason: str, tmp_path: Path
) -> None:
    """Prompts, and tables of another size than the decoder's class makes."""
    pytorch_class = names("seq2seq", family)["variants"][variant]["pytorch"]["class"]
    random_model(pytorch_class, config_of("seq2seq", family, variant), tmp_path / "whole")
    with pytest.raises(SourceError, match=reason):
        ckptconv.split(tmp_path / "whole", tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


@pytest.mark.frameworks
@pytest.mark.soak
@pytest.mark.parametrize("variant", ["plain", "bridge"])
@pytest.mark.parametrize(
    "family", ["swin", "donut-swin", "swinv2", "dinov2", "siglip_vision_model"]
)
def test_an_encoder_of_images_alone_and_in_a_new_pair(
    family: str, variant: str, tmp_path: Path
) -> None:
    """`AutoModel` loads all of it, and `join` makes the pair anew: states and logits are the same, bit for bit."""
    if variant not in names("vision", family)["variants"]:
        pytest.skip("one width alone")
    torch, transformers = torch_and_transformers()
    pair_class = transformers.VisionEncoderDecoderModel
    config = config_of("vision", family, variant)
    random_model("VisionEncoderDecoderModel", config, tmp_path / "whole")
    ckptconv.split(tmp_path / "whole", tmp_path / "parts")
    ckptconv.join(tmp_path / "parts/encoder", tmp_path / "parts/decoder", tmp_path / "joined")
    side = config["encoder"]["image_size"]
    pixels = torch.linspace(-2, 2, 2 * 3 * side**2).view(2, 3, side, side)
    whole = pair_class.from_pretrained(tmp_path / "whole").eval()
    joined, problems = pair_class.from_pretrained(tmp_path / "joined", output_loading_info=True)
    assert not any(problems.values()), problems
    with torch.inference_mode():
        states = whole.encoder(pixels).last_hidden_state
        logits = whole(pixels, decoder_input_ids=tokens()).logits
        assert torch.equal(joined.eval()(pixels, decoder_input_ids=tokens()).logits, logits)
        encoder = loaded(tmp_path / "parts/encoder")
        assert torch.equal(encoder(pixels).last_hidden_state, states)
