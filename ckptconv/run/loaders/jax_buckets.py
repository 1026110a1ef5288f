"""Few shapes of many, for each is compiled: `generate(Model(folder), input_ids=ids, attention_mask=mask)`.

Rows and lengths of tokens are filled up to powers of two, with copies of the last row and with padding under a mask
of zeros; the answer is cut back. A search that counts the tokens of the inputs would count these too: it is compiled
for each shape.
"""

from typing import Any

import numpy as np


def generate(model: Any, program: str = "generate", **inputs: Any) -> dict[str, Any]:
    """Answer as `model.generate` does. Args: model: a `Model` of load.py."""
    search = model.record["search"]
    penalty = search.get("encoder_repetition_penalty", 1.0)
    if penalty != 1 or search.get("encoder_no_repeat_ngram_size"):
        answer: dict[str, Any] = model.generate(program, **inputs)
        return answer
    rows = len(next(iter(inputs.values())))
    fills = {"input_ids": model.record["pad"], "attention_mask": 0} if "input_ids" in inputs else {}
    limit = model.record["limits"]["encoder"]
    for name, array in inputs.items():
        if np.ndim(array):
            widths = [(0, 0)] * np.ndim(array)
            if name in fills:
                widths[1] = (0, larger(np.shape(array)[1], limit) - np.shape(array)[1])
                array = np.pad(array, widths, constant_values=fills[name])
            widths = [(0, larger(rows) - rows), *[(0, 0)] * (np.ndim(array) - 1)]
            inputs[name] = np.pad(array, widths, mode="edge")
    answer = model.generate(program, **inputs)
    return {name: array[:rows] for name, array in answer.items()}


def larger(size: int, limit: int | None = None) -> int:
    """Return the next power of two, or the limit, where that lies between."""
    power = 1 << (size - 1).bit_length()
    return max(size, min(power, limit or power))
