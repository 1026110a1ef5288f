"""What two small models answered, without running any: rounding, and errors where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ckptconv.run.children import Answer
from ckptconv.run.forward import ForwardReport
from ckptconv.run.modalities import MODALITIES
from ckptconv.run.runners import Array
from ckptconv.run.yardstick import Fork, Generation, Measuring, Places, Quantity

SHAPES = {
    "encoder.0": (3, 7, 5),
    "encoder.1.attention": (3, 2, 7, 7),
    "encoder.1": (3, 7, 5),
    "encoder.last": (3, 7, 5),
    "decoder.0": (3, 6, 5),
    "decoder.1.attention": (3, 2, 6, 6),
    "decoder.1.cross": (3, 2, 6, 7),
    "decoder.1": (3, 6, 5),
    "logits": (3, 6, 11),
}


def outputs(apart_from: str = "", shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> ForwardReport:
    """Return what two small models answered: rounding, and from one quantity on errors of a tenth."""
    rng = np.random.default_rng(0)
    exact = {f"float64/full/{name}": rng.standard_normal(shape) for name, shape in shapes.items()}

    def rounded(size: float) -> dict[str, Array]:
        result, wrong = {}, False
        for key, array in exact.items():
            wrong = wrong or key == f"float64/full/{apart_from}"
            noise = rng.standard_normal(array.shape) * (0.1 if wrong and size > 1e-7 else size)
            result[key.replace("float64", "float32")] = (array + noise).astype(np.float32)
        return result

    def answer(framework: str, arrays: dict[str, Array]) -> Answer:
        return Answer(framework, arrays, (), {framework: "1.0"}, {"threads": 1}, {}, (), (), 1.5)  # type: ignore[arg-type]

    source, target = answer("pytorch", {**exact, **rounded(1e-7)}), answer("tf", rounded(1.5e-7))
    probes = {
        f"full.{side}attention_mask": np.ones((3, length), np.int64)
        for side, length in (("", 7), ("decoder_", 6))
    }
    places = Places(MODALITIES["text"], {})
    quantities: tuple[Quantity, ...] = tuple(
        Measuring(probes, places, source, target, source).quantities()
    )
    forks = (Fork(0, 2, 7, 8, 1.5, 1e-5), Fork(1, 1, 4, 5, 1e-6, 1e-5)) if apart_from else ()
    tokens = ((5, 6, 7, 9, 3), (5, 4, 3), (8, 3))
    altered = ((5, 6, 8, 9), (5, 5, 3), (8, 3)) if apart_from else tokens
    greedy = Generation("greedy", {"num_beams": 1}, tokens, altered, forks)
    texts = (("one", "1", "1" if not apart_from else "2"),)
    return ForwardReport(
        quantities, (greedy,), texts, (), ("one row is padding",), source, target, source, probes
    )
