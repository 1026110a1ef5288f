"""A browser, and pages of results that are small but whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

import ckptconv
from browser import Browser, chromium
from ckptconv.evidence.answers import Answer
from ckptconv.evidence.measuring import Measuring
from ckptconv.evidence.report import ForwardReport
from ckptconv.evidence.tokens import Fork, Generation
from ckptconv.evidence.yardstick import Quantity
from ckptconv.frameworks import Array
from ckptconv.operations.diff import Diff
from ckptconv.operations.inspection import Inspection
from ckptconv.operations.verify import Verification
from ckptconv.render.html.blocks import Page
from ckptconv.render.html.page import page_html

HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'`]]>&lt;b&gt;\u202e\u2066$x^2$%{y}"
)
"""A name that tries what names have been used for."""
SHAPES = {"encoder.0": (3, 7, 5), "encoder.1.attention": (3, 2, 7, 7), "encoder.1": (3, 7, 5), "encoder.last": (3, 7, 5),
          "decoder.0": (3, 6, 5), "decoder.1.attention": (3, 2, 6, 6), "decoder.1.cross": (3, 2, 6, 7),
          "decoder.1": (3, 6, 5), "logits": (3, 6, 11)}  # fmt: skip

Open: TypeAlias = Callable[..., Browser]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Chromium, once for all tests."""
    with chromium() as found:
        yield found


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Open:
    """Return what writes a page and opens it: `open_page(page, PHONE, scheme="dark")`."""

    def call(page: Page, *size: tuple[int, int], scheme: str = "light") -> Browser:
        file = tmp_path / "page.html"
        file.write_text(page_html(page))
        browser.open(file, *size, scheme=scheme)
        return browser

    return call


@pytest.fixture(scope="session")
def inspection(dates: Path) -> Inspection:
    """Return the trained checkpoint with the figures of its values."""
    return ckptconv.inspect(dates, stats=True)


@pytest.fixture(scope="session")
def changed(dates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained checkpoint after its cross-attention was trained a little more, and one matrix turned."""
    target = tmp_path_factory.mktemp("changed") / "dates"
    ckptconv.normalize(dates, target)
    found = ckptconv.inspect(dates)
    start = (target / "model.safetensors").read_bytes()
    offset = 8 + int.from_bytes(start[:8], "little")
    values = np.frombuffer(start[offset:], np.float32).copy()
    at = dict(_places(start[8:offset].decode()))
    rng = np.random.default_rng(3)
    for line in found.tensors:
        begin = at[line.spec.name] // 4
        part = values[begin : begin + line.spec.numel]
        if line.part == "cross-attention":
            part += rng.standard_normal(part.size).astype(np.float32) * 1e-3
        if line.spec.name == "encoder.encoder.layer.1.attention.self.query.weight":
            part[:] = part.reshape(line.spec.shape).T.ravel()
    (target / "model.safetensors").write_bytes(start[:offset] + values.tobytes())
    return target


def _places(header: str) -> Iterator[tuple[str, int]]:
    """Return name and offset of each tensor of a safetensors header."""
    for name, found in json.loads(header).items():
        if name != "__metadata__":
            yield name, found["data_offsets"][0]


@pytest.fixture(scope="session")
def difference(dates: Path, changed: Path) -> Diff:
    """Return how the two differ."""
    return ckptconv.diff(dates, changed)


@pytest.fixture(scope="session")
def verification(dates: Path, changed: Path) -> Verification:
    """Return a mismatch: a wrong layer, a token that differs and one that is a tie."""
    return replace(ckptconv.verify(dates, changed, "weights"), outputs=outputs(apart_from="encoder.1.attention"))


@pytest.fixture(scope="session")
def match(dates: Path) -> Verification:
    """Return a match."""
    return replace(ckptconv.verify(dates, dates, "weights"), outputs=outputs())


def outputs(apart_from: str = "") -> ForwardReport:
    """Return what two small models answered: rounding, and from one quantity on errors of a tenth."""
    rng = np.random.default_rng(0)
    exact = {f"float64/full/{name}": rng.standard_normal(shape) for name, shape in SHAPES.items()}

    def rounded(size: float) -> dict[str, Array]:
        found, wrong = {}, False
        for key, array in exact.items():
            wrong = wrong or key == f"float64/full/{apart_from}"
            noise = rng.standard_normal(array.shape) * (0.1 if wrong and size > 1e-7 else size)
            found[key.replace("float64", "float32")] = (array + noise).astype(np.float32)
        return found

    def answer(framework: str, arrays: dict[str, Array]) -> Answer:
        return Answer(framework, arrays, (), {framework: "1.0"}, {"threads": 1}, {}, (), (), 1.5)  # type: ignore[arg-type]

    source, target = answer("pytorch", {**exact, **rounded(1e-7)}), answer("tf", rounded(1.5e-7))
    probes = {f"full.{side}attention_mask": np.ones((3, length), np.int64)
              for side, length in (("", 7), ("decoder_", 6))}  # fmt: skip
    quantities: tuple[Quantity, ...] = tuple(Measuring(probes, source, target, source).quantities())
    forks = (Fork(0, 2, 7, 8, 1.5, 1e-5), Fork(1, 1, 4, 5, 1e-6, 1e-5)) if apart_from else ()
    tokens = ((5, 6, 7, 9, 3), (5, 4, 3), (8, 3))
    other = ((5, 6, 8, 9), (5, 5, 3), (8, 3)) if apart_from else tokens
    greedy = Generation("greedy", {"num_beams": 1}, tokens, other, forks)
    texts = (("one", "1", "1" if not apart_from else "2"),)
    return ForwardReport(quantities, (greedy,), texts, (), ("one row is padding",), source, target, source, probes)
