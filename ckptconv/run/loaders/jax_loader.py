"""Runs this artefact with jax, numpy and safetensors: `Model(folder).generate(input_ids=ids, attention_mask=mask)`."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from safetensors.numpy import load_file


class Model:
    """An artefact in memory."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.record = json.loads((self.folder / "artefact.json").read_text())
        files = [load_file(path) for path in sorted(self.folder.glob("*.safetensors"))]
        tensors = {name: array for file in files for name, array in file.items()}
        self.weights = {
            name: jax.device_put(a.astype("float32") if a.itemsize == 2 else a)
            for name, a in tensors.items()
        }
        self.calls: dict[str, Any] = {}

    def run(self, name: str, **inputs: Any) -> dict[str, Any]:
        """Run one program; it is compiled for every new shape."""
        program, values = self.record["programs"][name], []
        if name not in self.calls:
            self.calls[name] = jax.jit(
                export.deserialize(bytearray((self.folder / program["file"]).read_bytes())).call
            )
        for item in program["inputs"]:
            control = program["controls"].get(item["name"], {})
            value = inputs.get(item["name"], control.get("default"))
            narrow = np.asarray(value, item["dtype"].replace("int64", "int32"))
            values.append(np.zeros(narrow, np.float32) if control.get("kind") == "size" else narrow)
        weights = {tensor: self.weights[tensor] for tensor in program["weights"]}
        return {key: np.asarray(value) for key, value in self.calls[name](weights, *values).items()}

    def generate(
        self, program: str = "generate", bucket: bool = True, **inputs: Any
    ) -> dict[str, Any]:
        """Answer; rows and lengths are padded to powers of two, so that few shapes are compiled."""
        rows = len(next(iter(inputs.values())))
        for name, fill in {"input_ids": self.record["pad"], "attention_mask": 0}.items():
            if bucket and name in inputs and "input_ids" in inputs:
                length = inputs[name].shape[1]
                wide = max(
                    length,
                    min(
                        1 << (length - 1).bit_length(), self.record["limits"]["encoder"] or 1 << 30
                    ),
                )
                inputs[name] = np.pad(
                    inputs[name], ((0, 0), (0, wide - length)), constant_values=fill
                )
        for name, array in inputs.items():
            if bucket and np.ndim(array):
                more = (1 << (rows - 1).bit_length()) - rows
                inputs[name] = np.pad(
                    array, [(0, more), *([(0, 0)] * (np.ndim(array) - 1))], mode="edge"
                )
        answer = self.run(program, **inputs)
        length = int(answer.pop("length"))
        answer["sequences"] = answer["sequences"][:, :length].astype(np.int64)
        return {name: array[:rows] for name, array in answer.items()}
