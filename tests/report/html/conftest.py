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
from answers import outputs
from browser import Browser, chromium
from ckptconv.report.html.blocks import Page
from ckptconv.report.html.page import page_html
from ckptconv.verbs.diff import Diff
from ckptconv.verbs.inspect import Inspection
from ckptconv.verbs.verify import Verification

Open: TypeAlias = Callable[..., Browser]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Chromium, once for all tests."""
    with chromium() as driver:
        yield driver


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Open:
    """Return what writes a page, or takes a file, and opens it: `open_page(page, PHONE, scheme="dark")`."""

    def call(page: Page | Path, *size: tuple[int, int], scheme: str = "light") -> Browser:
        file = page if isinstance(page, Path) else tmp_path / "page.html"
        if isinstance(page, Page):
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
    result = ckptconv.inspect(dates)
    start = (target / "model.safetensors").read_bytes()
    offset = 8 + int.from_bytes(start[:8], "little")
    values = np.frombuffer(start[offset:], np.float32).copy()
    at = dict(_places(start[8:offset].decode()))
    rng = np.random.default_rng(3)
    for line in result.tensors:
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
    for name, entry in json.loads(header).items():
        if name != "__metadata__":
            yield name, entry["data_offsets"][0]


@pytest.fixture(scope="session")
def difference(dates: Path, changed: Path) -> Diff:
    """Return how the two differ."""
    return ckptconv.diff(dates, changed)


@pytest.fixture(scope="session")
def verification(dates: Path, changed: Path) -> Verification:
    """Return a mismatch: a wrong layer, a token that differs and one that is a tie."""
    return replace(
        ckptconv.verify(dates, changed, "weights"),
        outputs=outputs(apart_from="encoder.1.attention"),
    )


@pytest.fixture(scope="session")
def match(dates: Path) -> Verification:
    """Return a match."""
    return replace(ckptconv.verify(dates, dates, "weights"), outputs=outputs())
