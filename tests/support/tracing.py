"""A trace of a small pair whose answers are made up: what is written and read is tested without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from answering import answers
from ckptconv.run.children import Answer
from ckptconv.run.fingerprints import STORED, fingerprints
from ckptconv.run.modalities import Example
from ckptconv.run.recording import probes_for_all
from ckptconv.run.runners import Array
from ckptconv.run.trace import Question, Trace
from ckptconv.schema.model import Model, read_model
from ckptconv.stores.checkpoint import open_preferring_pytorch
from probing import supports

if TYPE_CHECKING:
    from conftest import Pair

SEARCH = {
    "num_beams": 1,
    "max_new_tokens": 3,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "decoder_start_token_id": 1,
}


def quantities(composition: Model, noise: float, seed: int = 0) -> dict[str, Array]:
    """Return float32 answers to all probes, so far from the float64 ones."""
    probes, _ = probes_for_all(composition, 0, *supports("pytorch"))
    exact, rng = np.random.default_rng(3), np.random.default_rng(seed)
    result = {}
    for key, mask in probes.items():
        probe, _, name = key.partition(".")
        if name.endswith("attention_mask"):
            values = exact.normal(size=(*mask.shape, 8))
            quantity = "logits" if "decoder" in name else "encoder.0"
            result[f"float64/{probe}/{quantity}"] = values
            off = rng.normal(size=values.shape) * noise
            result[f"float32/{probe}/{quantity}"] = (values + off).astype(np.float32)
    return result


def made_up(pair: Pair, folder: Path) -> tuple[Trace, Model]:
    """Write a pair, and return a trace of it with answers that no model gave."""
    source = open_preferring_pytorch(pair.write(folder))
    composition = read_model(source.config)
    probes, suited = probes_for_all(composition, 0, *supports("pytorch"))
    generated = answers()[0].arrays
    tokens = {name: generated[name] for name in ("greedy/tokens", "float64/greedy/cached")}
    arrays = quantities(composition, 3e-7) | tokens
    arrays["float32/greedy/cached"] = generated["float32/greedy/cached"].astype(np.float32)
    answer = Answer(
        "pytorch",
        arrays,
        (),
        {"torch": "2"},
        {"tf32": False},
        {"num_beams": 1},
        ("1",),
        (),
        0.0,
        {"a": (2, 1)},
    )
    examples = (Example("a"), Example("b", "c"))
    question = Question({"greedy": SEARCH}, "right", ("one",), examples, {"start": 1})
    weights = fingerprints(source, composition, STORED)
    return Trace(
        "pytorch", source.config.values, None, question, probes, suited, answer, answer, weights
    ), composition
