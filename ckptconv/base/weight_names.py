"""What the file of a checkpoint's weights is called in each format, spelt here alone.

Names tell which reader to import, and which framework: both before anything is opened.
Source: transformers 4.57.6, utils/__init__.py (`WEIGHTS_NAME` and its kin).
"""

from __future__ import annotations

from collections.abc import Mapping

FILE_NAMES: Mapping[str, str] = {
    "hdf5": "tf_model.h5",
    "msgpack": "flax_model.msgpack",
    "safetensors": "model.safetensors",
    "torch legacy": "pytorch_model.bin",
    "torch": "pytorch_model.bin",
}
"""Format -> what its file is called where the weights are one file; shards and variants are spelt from these."""
SUFFIXES = frozenset(f".{name.rpartition('.')[2]}" for name in FILE_NAMES.values())
"""How the names of such files end."""
