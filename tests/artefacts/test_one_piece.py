"""One-piece and vision models trace and generate by the code of pairs: none of it knows a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.soak,
    pytest.mark.frameworks,
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore"),
]

WORDS, WIDTH, LONGEST = 61, 24, 13
STACKS = {
    "d_model": WIDTH,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
}


def t5(transformers: Any) -> Any:
    """Relative positions, no bias, a scaled head."""
    config = transformers.T5Config(
        vocab_size=WORDS,
        d_model=WIDTH,
        d_kv=6,
        d_ff=40,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    return transformers.T5ForConditionalGeneration(config)


def bart(transformers: Any) -> Any:
    """Learned positions with an offset, and a bias of the logits."""
    config = transformers.BartConfig(vocab_size=WORDS, max_position_embeddings=33, **STACKS)
    return transformers.BartForConditionalGeneration(config)


def marian(transformers: Any) -> Any:
    """Positions by sines, which no checkpoint stores."""
    tokens = {"pad_token_id": 60, "decoder_start_token_id": 60, "eos_token_id": 0}
    config = transformers.MarianConfig(
        vocab_size=WORDS, max_position_embeddings=33, forced_eos_token_id=0, **tokens, **STACKS
    )
    return transformers.MarianMTModel(config)


def vit_gpt2(transformers: Any) -> Any:
    """Pixels, and no mask."""
    encoder = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        image_size=16,
        patch_size=4,
    )
    decoder = transformers.GPT2Config(
        vocab_size=WORDS,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
        is_decoder=True,
        add_cross_attention=True,
    )
    kind = transformers.VisionEncoderDecoderConfig
    config = kind.from_encoder_decoder_configs(encoder, decoder)
    model = transformers.VisionEncoderDecoderModel(config)
    tokens = {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model.generation_config = transformers.GenerationConfig(**tokens)
    return model


@pytest.mark.parametrize("make", [t5, bart, marian, vit_gpt2])
def test_generate_answers_what_pytorch_answers(make: Callable[[Any], Any]) -> None:
    """The traced search, at another batch than it was traced with, token for token."""
    import torch
    import transformers

    from ckptconv.artefacts.generation.generate import control_tensor, trace_generate
    from ckptconv.artefacts.generation.settings import search_of
    from ckptconv.artefacts.tracing.examples import examples_of
    from ckptconv.artefacts.tracing.trace import trace

    torch.manual_seed(0)
    model = make(transformers).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
            else:
                parameter.mul_(3.0)
    model.generation_config.max_length = LONGEST
    examples = examples_of(model)
    search = search_of(model.generation_config.to_dict())
    inputs = {name: torch.cat([tensor, tensor[:1]]) for name, tensor in examples.items()}
    expected = model.generate(**inputs)
    traced = trace(model, search.start, examples)
    program = trace_generate(traced, search)
    run = program.exported.module(check_guards=False)
    controls = tuple(control_tensor(control) for control in program.controls.values())
    tokens, length = run(tuple(inputs[name] for name in traced.encode.inputs), controls)
    assert torch.equal(tokens[:, :length], expected)
