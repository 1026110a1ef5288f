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
        self.folder, self.calls, self.weights = Path(folder), dict[str, Any](), dict[str, Any]()
        self.record = json.loads((self.folder / "artefact.json").read_text())
        for file in self.folder.glob("*.safetensors"):
            for name, array in load_file(file).items():
                wide = array.astype("float32") if array.itemsize == 2 else array
                self.weights[name] = jax.device_put(wide)

    def run(self, name: str, **inputs: Any) -> dict[str, Any]:
        """Run one program; it is compiled for every new shape."""
        program, values = self.record["programs"][name], []
        if name not in self.calls:
            content = (self.folder / program["file"]).read_bytes()
            self.calls[name] = jax.jit(export.deserialize(bytearray(content)).call)
        for item in program["inputs"]:
            value = (program["defaults"] | inputs)[item["name"]]
            value = np.asarray(value, item["dtype"].replace("64", "32"))  # JAX's own widths
            values.append(np.zeros(value, "float32") if item["name"] in program["sizes"] else value)
        answer = self.calls[name]({key: self.weights[key] for key in program["weights"]}, *values)
        return {key: np.asarray(value) for key, value in answer.items()}

    def generate(self, program: str = "generate", **inputs: Any) -> dict[str, Any]:
        """Answer, for one shape; `buckets.py` makes few shapes of many."""
        answer = self.run(program, **inputs)
        tokens, length = answer.pop("sequences"), int(answer.pop("length"))
        return {"sequences": tokens[:, :length].astype("int64"), **answer}
