"""What each tensor costs, beside its bytes: a checkpoint may have 100,000 of them."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptconv
from ckptconv.base.strict_json import Json, dump_json
from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model
from ckptconv.stores.formats import FORMATS
from ckptconv.stores.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE: dict[str, Json] = {
    "model_type": "bert",
    "vocab_size": 9,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 1,
    "max_position_embeddings": 9,
}
MOST_BYTES = 5_000
"""Of Python's memory for each tensor, at the highest point of a run."""


def written(folder: Path, layers: int) -> int:
    """Write a pair of holes; return how many tensors it has."""
    side = {**SIDE, "num_hidden_layers": layers}
    decoder = {**side, "is_decoder": True, "add_cross_attention": True}
    config: dict[str, Json] = {
        "model_type": "encoder-decoder",
        "is_encoder_decoder": True,
        "decoder_start_token_id": 1,
        "pad_token_id": 0,
        "encoder": side,
        "decoder": decoder,
    }
    folder.mkdir()
    (folder / "config.json").write_bytes(dump_json(config))
    tensors = [
        tensor for tensor in read_model(Config(config)).tensors if tensor.is_written_in("pytorch")
    ]
    create = FORMATS["safetensors"].create
    assert create is not None
    specs = [TensorSpec(tensor.key, "float32", tensor.shape("pytorch")) for tensor in tensors]
    create(folder / "model.safetensors", specs, "pytorch", False)
    return len(specs)


@pytest.mark.thorough
@pytest.mark.parametrize("convert", [ckptconv.normalize, ckptconv.pt2tf])
def test_memory_of_each_tensor(tmp_path: Path, convert: Callable[[Path, Path], object]) -> None:
    """Four times as many tensors take at most 5 kB more for each that came."""
    peaks, counts = [], []
    for layers in (2, 2, 8):  # the first run imports
        source, target = tmp_path / f"{len(peaks)}", tmp_path / f"{len(peaks)}-out"
        counts.append(written(source, layers))
        gc.collect()
        tracemalloc.start()
        try:
            convert(source, target)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / (counts[2] - counts[1]) < MOST_BYTES
