"""The random models of `export.py`: `export_models.py mid|base|bart|roberta2gpt2 FOLDER`. Answers run to the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from export_engines import NEW_TOKENS
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GenerationConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

VOCABULARY, WIDTH, LAYERS, HEADS = 30522, 512, 6, 8
SIZES = {
    "mid": {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
}
"""Of both sides of a bert -> bert pair: 76 M parameters, and those of two bert-base."""
TOKENS = {"decoder_start_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}


def pair(size: str) -> Any:
    """Return a bert -> bert pair."""
    own = SIZES[size]
    sides = [BertConfig(intermediate_size=4 * own["hidden_size"], **own) for _ in range(2)]
    return EncoderDecoderModel(EncoderDecoderConfig.from_encoder_decoder_configs(*sides))


def bart(folder: Path) -> Any:
    """Return a BART; write words `w0`, `w1`, ... for CTranslate2, whose converter reads a vocabulary."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({f"w{token}": token for token in range(VOCABULARY)}, "w3"))
    special = {"bos_token": "w101", "eos_token": "w102", "pad_token": "w0", "unk_token": "w3"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    sides: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", LAYERS), ("attention_heads", HEADS), ("ffn_dim", 4 * WIDTH))
    }
    converter = {"normalize_before": False, "normalize_embedding": True}
    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        forced_eos_token_id=None,
        bos_token_id=101,
        **sides,
        **converter,
        **TOKENS,
    )
    return BartForConditionalGeneration(config)


def roberta2gpt2() -> Any:
    """Return a pair that optimum takes with caches; of bert -> bert it takes none."""
    roberta = RobertaConfig(
        intermediate_size=4 * WIDTH, vocab_size=VOCABULARY, pad_token_id=0, **SIZES["mid"]
    )
    gpt2 = GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, vocab_size=VOCABULARY)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(roberta, gpt2)
    for name, token in TOKENS.items():
        setattr(config, name, token)
    return EncoderDecoderModel(config)


def save(name: str, folder: Path) -> None:
    """Save a model some way from its first weights, with a search that runs to the end."""
    torch.manual_seed(0)
    makers = {"bart": lambda: bart(folder), "roberta2gpt2": roberta2gpt2}
    model = makers.get(name, lambda: pair(name))()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    length = NEW_TOKENS + 1
    model.generation_config = GenerationConfig(**TOKENS, max_length=length, min_length=length)
    model.save_pretrained(folder)


if __name__ == "__main__":
    save(sys.argv[1], Path(sys.argv[2]))
