"""How a model of TF's class gets its weights, with each of them in memory once.

Left alone, transformers 4.57.6 lets each layer draw its first values, reads a whole file into arrays, and TensorFlow
copies each of these twice. Of a bert-base pair that is 2.8 GB for a model of 1 GB, and twice the time. Here the first
values are zeros that nobody has written yet, and a variable takes over the very memory that a tensor was read into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from ckptconv.run.runners import Array

DRAWING = ("TruncatedNormal", "RandomNormal", "RandomUniform", "VarianceScaling", "Orthogonal")
"""tf-keras' initializers that draw, and whose subclasses draw by them."""
ALIGNMENT = 64
"""TensorFlow computes on memory that begins at a multiple of so many bytes."""


@contextmanager
def loading_once() -> Iterator[None]:
    """Let models that are loaded within the block hold each weight once."""
    keras, h5py = import_module("tf_keras"), import_module("h5py")
    backend = import_module("transformers.modeling_tf_utils").K
    patches: list[tuple[Any, str, Any]] = [
        (getattr(keras.initializers, name), "__call__", _zeros) for name in DRAWING
    ]
    patches += [
        (h5py.Dataset, "__array__", _aligned_reader(h5py.Dataset.__array__)),
        (backend, "batch_set_value", _assign),
    ]
    originals = [getattr(place, name) for place, name, _ in patches]
    for place, name, function in patches:
        setattr(place, name, function)
    try:
        yield
    finally:
        for (place, name, _), original in zip(patches, originals, strict=True):
            setattr(place, name, original)


def _aligned(shape: Sequence[int], dtype: Any, make: Callable[..., Any] = np.empty) -> Array:
    """Return an array whose memory a tensor can take over. Args: make: `np.zeros` for zeros."""
    dtype = np.dtype(dtype)
    nbytes = prod(shape) * dtype.itemsize
    memory = make(nbytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    array: Array = memory[start : start + nbytes].view(dtype).reshape(shape)
    return array


def _tensor(array: Array) -> Any:
    """Return a tensor on the memory of an array that is aligned."""
    tensorflow = import_module("tensorflow")
    return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())


def _zeros(_initializer: Any, shape: Any, dtype: Any = None, **_options: Any) -> Any:
    """Stand for an initializer: the class says what it does not find, and to draw 247 million numbers takes seconds."""
    tensorflow = import_module("tensorflow")
    kind = tensorflow.as_dtype(dtype or tensorflow.float32)
    return _tensor(_aligned(tuple(shape), kind.as_numpy_dtype, np.zeros))


def _aligned_reader(usual: Callable[..., Array]) -> Callable[..., Array]:
    """Return what reads a dataset of HDF5 into an array, aligned where it holds plain numbers."""

    def read(dataset: Any, dtype: Any = None, copy: bool = True) -> Array:
        wanted = np.dtype(dtype or dataset.dtype)
        if wanted.kind not in "fiu" or not dataset.size:
            return usual(dataset, dtype, copy)
        array = _aligned(dataset.shape, wanted)
        dataset.read_direct(array)
        return array

    return read


def _assign(weights: Sequence[tuple[Any, Any]]) -> None:
    """Stand for `batch_set_value`: put arrays into variables, without a copy where one is aligned."""
    for variable, value in weights:
        array = np.asarray(value, variable.dtype.as_numpy_dtype)
        usable = array.flags.carray and array.ctypes.data % ALIGNMENT == 0
        variable.assign(_tensor(array) if usable else array)
