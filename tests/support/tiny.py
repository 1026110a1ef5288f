"""Tiny models of every family, from the data in `fixtures/`: no list of families stands here.

`random_pair` makes a real checkpoint in which every tensor matters: in a default tiny model the biases
are zero, the gains one and the attention flat, so that a lost bias, a swapped norm or an untransposed
query changes nothing that a test could see.
"""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("encoder", "decoder")
SETTINGS = ("variant", "config", "sides", "partner", "refused")
"""What a variant in fixtures/configs may say; see the README there."""

SHARP = re.compile(r"(^|[._])(q|k|query|key|qkv|Wqkv|c_attn)([._]|$)")
"""Names of what makes queries and keys."""
SHARP_GAIN = 2.0
"""Of queries and keys over their inputs: attention logits of a few units, so a sharp softmax."""
GAIN = 0.8
"""Of any other layer: with more, attention drowns the position, and every answer is the same."""
NOISE = 0.25
"""Of gains, biases and token embeddings."""
POSITION_NOISE = 1.0
"""Of all other embeddings: positions must outweigh tokens, or greedy search repeats its first answer."""
NEW_TOKENS = 10
DIFFERENT = 5
"""So many different tokens among the new ones are varied enough for a comparison to mean something."""
TRIES = 24

Json: TypeAlias = dict[str, Any]


def _variants(path: Path) -> list[Json]:
    """Return a family's variants, whole: the file gives for each later one how it differs from the first."""
    document: list[Json] = json.loads(path.read_text())
    base = document[0]["config"]
    return [
        entry | {"config": {"model_type": path.stem} | base | entry["config"]} for entry in document
    ]


CONFIGS: dict[str, list[Json]] = {
    path.stem: _variants(path) for path in sorted((ROOT / "fixtures" / "configs").glob("*.json"))
}
"""Family -> its variants, the plain one first; `config` is whole, with its model type."""

NAMES: dict[str, Json] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "fixtures" / "names").glob("*.json"))
}
"""Family -> what the classes of transformers say, as `fixtures/make_names.py` wrote it down."""


def plain(family: str) -> Json:
    """Return a family's first config."""
    config: Json = CONFIGS[family][0]["config"]
    return dict(config)


def oracle(family: str, variant: str, side: str) -> Json:
    """Return what each framework said of a variant on one side; {} before it was asked."""
    names: Json = NAMES.get(family, {}).get("variants", {}).get(variant, {}).get(side, {})
    return names


def is_refused(variant: Json, naming: str) -> bool:
    """Tell whether the configuration says that a naming's class answers wrongly, or PyTorch's is no use."""
    said = variant.get("refused", {})
    return isinstance(said, str) or naming in said


def encoders(naming: str = "pytorch") -> list[str]:
    """Return the families that a framework runs rightly as an encoder."""
    return _able("encoder", naming)


def decoders(naming: str = "pytorch") -> list[str]:
    """Return the families that a framework runs rightly as a decoder."""
    return _able("decoder", naming)


def pairs(naming: str = "pytorch") -> list[tuple[str, str]]:
    """Return pairs in which every family stands once on every side it can take, beside a bert."""
    result = [(encoder, "bert") for encoder in encoders(naming)]
    return result + [("bert", decoder) for decoder in decoders(naming) if decoder != "bert"]


def _able(side: str, naming: str) -> list[str]:
    return [
        family
        for family, (first, *_) in CONFIGS.items()
        if "class" in oracle(family, first["variant"], side).get(naming, {})
        and not is_refused(first, naming)
    ]


def random_pair(
    encoder_config: Json,
    decoder_config: Json,
    folder: Path,
    *,
    seed: int = 0,
    bridge: bool | None = None,
    safe: bool = True,
    dtype: str = "float32",
    max_shard_size: str = "5GB",
    **composite: Any,
) -> Path:
    """Save a random `EncoderDecoderModel` as transformers saves it, and return the folder.

    Args: encoder_config, decoder_config: as in `plain("bert")`. bridge: True gives the encoder another
    width than the decoder's, False the same; None keeps the configs' widths. safe: safetensors, or
    else pickle. dtype: of the saved weights. composite: more settings of the whole, such as
    `tie_encoder_decoder=True`.
    """
    torch, transformers = import_pytorch()
    encoder, decoder = _half(transformers, encoder_config), _half(transformers, decoder_config)
    if bridge is not None:
        _set_width(encoder, decoder, bridge)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, **(_specials(decoder) | composite)
    )
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own, about its own code
        model = _varied_model(torch, transformers, config, seed)
        model.to(getattr(torch, dtype)).save_pretrained(
            folder, safe_serialization=safe, max_shard_size=max_shard_size
        )
    return folder


def import_pytorch() -> tuple[Any, Any]:
    """Import PyTorch and transformers; without TF and JAX that takes half of the time."""
    with patch.dict(os.environ, {"USE_TORCH": "1", "USE_TF": "0", "USE_FLAX": "0"}):
        torch = import_module("torch")
        torch.set_num_threads(
            1
        )  # more only spin on models this small, and steal the time of a parallel test
        return torch, import_module("transformers")


def _half(transformers: Any, settings: Json) -> Any:
    """Return the config of one side, without dropout, so that training mode changes nothing either."""
    config = transformers.AutoConfig.for_model(**settings)
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    return config


def _set_width(encoder: Any, decoder: Any, bridge: bool) -> None:
    """Give the encoder the decoder's width, or the next one that its heads allow."""
    width, heads = decoder.hidden_size, encoder.num_attention_heads
    if bridge and encoder.hidden_size != width:
        return
    if width % heads:
        raise ValueError(f"{heads} heads of {encoder.model_type} do not divide the width {width}")
    encoder.hidden_size = width + 2 * heads if bridge else width
    if hasattr(encoder, "word_embed_proj_dim"):  # OPT's states have this width
        encoder.word_embed_proj_dim = encoder.hidden_size


def _specials(decoder: Any) -> Json:
    """Return the special tokens of the whole: the decoder's own, or the first ones that are free."""
    pad = 0 if decoder.pad_token_id is None else decoder.pad_token_id
    free = iter(token for token in range(8) if token != pad)
    start = next(free) if decoder.bos_token_id is None else decoder.bos_token_id
    ends = (
        next(item for item in free if item != start)
        if decoder.eos_token_id is None
        else decoder.eos_token_id
    )
    return {"decoder_start_token_id": start, "eos_token_id": ends, "pad_token_id": pad}


def _varied_model(torch: Any, transformers: Any, config: Any, seed: int) -> Any:
    """Return a model whose greedy answers vary: of several tries the first that will do, or the best."""
    torch.manual_seed(seed)
    model = transformers.EncoderDecoderModel(config=config).eval()
    model.generation_config = transformers.GenerationConfig(
        **{
            key: getattr(config, key)
            for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id")
        }
    )
    first = {name: value.clone() for name, value in model.state_dict().items()}
    varieties: list[int] = []
    while len(varieties) < TRIES and max(varieties, default=0) < DIFFERENT:
        randomize(torch, model, first, 1000 * seed + len(varieties))
        varieties.append(_variety(torch, model))
    best = varieties.index(max(varieties))
    randomize(torch, model, first, 1000 * seed + best)
    return model


def randomize(torch: Any, model: Any, first: Json, seed: int) -> None:
    """Give the model other weights: dense layers by their fan-in, tables noise; 1-D ones are shifted."""
    torch.manual_seed(seed)
    model.load_state_dict(first)
    tokens = [half.get_input_embeddings().weight for half in (model.encoder, model.decoder)]
    tokens += [head.weight for head in [model.decoder.get_output_embeddings()] if head is not None]
    modules = dict(model.named_modules())
    for name, value in model.named_parameters():  # each once, however many names it has
        module = modules[name.rpartition(".")[0]]
        noise = torch.randn(value.shape)
        if value.ndim < 2:
            value.add_(NOISE * noise)
        elif any(value is table for table in tokens):
            value.copy_(NOISE * noise)
        elif isinstance(module, torch.nn.Embedding):
            value.copy_(POSITION_NOISE * noise)
        else:
            gain = SHARP_GAIN if SHARP.search(name) else GAIN
            value.copy_(gain / math.sqrt(_fan_in(module, value)) * noise)


def _fan_in(module: Any, value: Any) -> int:
    """Return how many inputs each output sums over; `Conv1D` stores (in, out), all others (out, in ...)."""
    return int(value.shape[0] if type(module).__name__ == "Conv1D" else value[0].numel())


def _pads(model: Any, tokens: Any) -> bool:
    """Tell whether an answer has the padding token before its end: Flax cannot number positions after it."""
    ids = model.generation_config
    rows = (row.tolist() for row in tokens)
    return any(
        ids.pad_token_id in row[: row.index(ids.eos_token_id) if ids.eos_token_id in row else None]
        for row in rows
    )


def _variety(torch: Any, model: Any) -> int:
    """Return the number of different new tokens in the less varied one of two answers; -1: of no use."""
    words = min(model.encoder.config.vocab_size, model.decoder.config.vocab_size)
    ids = torch.randint(min(5, words - 1), words, (2, 7))
    answer = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        use_cache=False,  # some classes crash with the cache of transformers 4.57.6
    )
    tokens = answer[:, 1:]
    logits = model(input_ids=ids, decoder_input_ids=tokens).logits
    if (
        not torch.isfinite(logits).all()
        or torch.equal(tokens[0], tokens[1])
        or _pads(model, tokens)
    ):
        return -1
    return min(len(set(row.tolist())) for row in tokens)
