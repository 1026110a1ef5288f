"""TensorFlow's C API by ctypes: its `LoadSavedModel` of C++ is the loader that TensorFlow Serving calls."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"float32": 1, "int32": 3, "int64": 9}
"""numpy's name -> TF_DataType."""
POINTERS = (
    "TF_AllocateTensor",
    "TF_GraphOperationByName",
    "TF_LoadSessionFromSavedModel",
    "TF_NewBuffer",
    "TF_NewGraph",
    "TF_NewSessionOptions",
    "TF_NewStatus",
    "TF_TensorData",
)


class Buffer(ctypes.Structure):
    """`TF_Buffer`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("free", ctypes.c_void_p),
    )


class Output(ctypes.Structure):
    """`TF_Output`."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class Loaded:
    """A SavedModel in a session of C++, with the tag `serve`; it stays until the process ends."""

    def __init__(self, folder: Path) -> None:
        """Load it. Raises RuntimeError: what the loader says."""
        tf: Any = import_module("tensorflow")
        self.library = library = ctypes.CDLL(
            str(Path(tf.__file__).parent / "libtensorflow_cc.so.2")
        )
        for name in POINTERS:
            getattr(library, name).restype = ctypes.c_void_p
        library.TF_Message.restype, library.TF_Dim.restype = ctypes.c_char_p, ctypes.c_int64
        self.status, self.graph = (
            ctypes.c_void_p(make()) for make in (library.TF_NewStatus, library.TF_NewGraph)
        )
        buffer = ctypes.cast(ctypes.c_void_p(library.TF_NewBuffer()), ctypes.POINTER(Buffer))
        tags = (ctypes.c_char_p * 1)(b"serve")
        options = ctypes.c_void_p(library.TF_NewSessionOptions())
        session = library.TF_LoadSessionFromSavedModel(
            options, None, str(folder).encode(), tags, 1, self.graph, buffer, self.status
        )
        self.session = ctypes.c_void_p(session)
        self._require_ok()
        meta = tf.compat.v1.MetaGraphDef()
        meta.ParseFromString(ctypes.string_at(buffer.contents.data, buffer.contents.length))
        self.signatures = {
            name: signature
            for name, signature in meta.signature_def.items()
            if not name.startswith("__")
        }

    def run(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run one signature, by the tensor names that it says. Raises RuntimeError: what the session says."""
        signature, count = self.signatures[name], len(inputs)
        assert inputs.keys() == set(signature.inputs)
        feeds = (Output * count)(*(self._place(signature.inputs[key].name) for key in inputs))
        values = (ctypes.c_void_p * count)(*map(self._tensor, inputs.values()))
        keys = list(signature.outputs)
        fetches = (Output * len(keys))(*(self._place(signature.outputs[key].name) for key in keys))
        results = (ctypes.c_void_p * len(keys))()
        ends = (feeds, values, count, fetches, results, len(keys))
        self.library.TF_SessionRun(self.session, None, *ends, None, 0, None, self.status)
        self._require_ok()
        return {key: self._array(result) for key, result in zip(keys, results, strict=True)}

    def _require_ok(self) -> None:
        if self.library.TF_GetCode(self.status):
            raise RuntimeError(self.library.TF_Message(self.status).decode())

    def _place(self, name: str) -> Output:
        operation, _, index = name.partition(":")
        place = self.library.TF_GraphOperationByName(self.graph, operation.encode())
        return Output(place, int(index))

    def _tensor(self, value: Any) -> ctypes.c_void_p:
        array = np.asarray(value, order="C")
        sizes = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
        dtype, nbytes = DTYPES[str(array.dtype)], ctypes.c_size_t(array.nbytes)
        tensor = ctypes.c_void_p(self.library.TF_AllocateTensor(dtype, sizes, array.ndim, nbytes))
        data = ctypes.c_void_p(self.library.TF_TensorData(tensor))
        ctypes.memmove(data, array.ctypes.data, array.nbytes)
        return tensor

    def _array(self, result: int) -> Any:
        tensor = ctypes.c_void_p(result)
        shape = [
            self.library.TF_Dim(tensor, axis) for axis in range(self.library.TF_NumDims(tensor))
        ]
        kind = self.library.TF_TensorType(tensor)
        dtype = next(np.dtype(name) for name, number in DTYPES.items() if number == kind)
        nbytes = int(np.prod(shape)) * dtype.itemsize
        data = ctypes.c_void_p(self.library.TF_TensorData(tensor))
        return np.frombuffer(ctypes.string_at(data, nbytes), dtype).reshape(shape)
