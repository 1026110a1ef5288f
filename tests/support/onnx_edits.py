"""Changes of ONNX files, for tests of what must be noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def set_default(path: Path, name: str, value: int) -> None:
    """Give an input of a graph another default."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(value, np.int64), name))
    path.write_bytes(model.SerializeToString())
