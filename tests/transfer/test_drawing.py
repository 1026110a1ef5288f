"""New values: pinned to the bit, so that every machine and every numpy draws the same."""

from __future__ import annotations

from hashlib import sha256
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from ckptconv.binding.plan import Fill
from ckptconv.stores.tensor import TensorSpec
from ckptconv.transfer.casting import decode
from ckptconv.transfer.pieces import STEP, drawn

NAME = "decoder.bert.encoder.layer.0.crossattention.self.query.weight"
FIRST = ("0x1.b6cec8p-6", "-0x1.5de6b6p-8", "0x1.155a16p-6", "-0x1.ccb224p-6")
"""Of NAME's 49 elements, drawn with seed 0 and std 0.02."""
DIGEST = "e62a5710323c358ab9c75db629429f9e0cf7dbbd879d26163d11288bbc15e94d"
MANY_DIGEST = "6a45e86c4a10ba4ffc3ba0f64499a3c21498f159ea71a78e495278b042cdf7cf"
LARGEST = NormalDist().inv_cdf(1 - 0.5 / 65536)
"""The last of 65,536 quantiles, 4.32."""


def values(
    fill: Fill, shape: tuple[int, ...], name: str = NAME, dtype: str = "float32"
) -> NDArray[np.float32]:
    """Return a drawn tensor."""
    items = np.concatenate(list(drawn(fill, TensorSpec(name, dtype, shape))))
    return np.asarray(decode(items, dtype), np.float32).reshape(shape)


@pytest.fixture(scope="module")
def many() -> NDArray[np.float32]:
    """More than one step of values, and no multiple of four."""
    return values(Fill(std=0.02), (STEP + 3,))


def test_pinned(many: NDArray[np.float32]) -> None:
    """Elements and bytes are those that were drawn when this was written, here and across a step."""
    result = values(Fill(std=0.02), (7, 7))
    assert [float(item) for item in result.ravel()[:4]] == [float.fromhex(item) for item in FIRST]
    assert sha256(result.astype("<f4").tobytes()).hexdigest() == DIGEST
    assert sha256(many.astype("<f4").tobytes()).hexdigest() == MANY_DIGEST


def test_normal(many: NDArray[np.float32]) -> None:
    """Mean, deviation and fourth moment are the normal's; nothing is beyond 4.33 deviations, and that is reached."""
    scaled = many.astype(np.float64) / 0.02
    root = np.sqrt(scaled.size)
    assert abs(scaled.mean()) < 4 / root
    assert abs(scaled.std() - 1) < 4 * np.sqrt(0.5) / root
    assert abs((scaled**4).mean() - 3) < 4 * np.sqrt(96) / root
    assert np.abs(scaled).max() == pytest.approx(LARGEST, rel=1e-6)
    assert abs(np.corrcoef(scaled[:-1], scaled[1:])[0, 1]) < 4 / root


@pytest.mark.parametrize(
    ("fill", "name"), [(Fill(std=0.02, seed=1), NAME), (Fill(std=0.02), f"{NAME}.")]
)
def test_streams_are_apart(many: NDArray[np.float32], fill: Fill, name: str) -> None:
    """Another seed or another tensor draws other values, with no trace of the first ones."""
    second = values(fill, many.shape, name)
    assert abs(np.corrcoef(many, second)[0, 1]) < 4 / np.sqrt(many.size)


def test_shape_and_order_do_not_matter(many: NDArray[np.float32]) -> None:
    """A tensor's values depend on its name, the seed and their number in it alone."""
    assert np.array_equal(values(Fill(std=0.02), (STEP // 4, 4)).ravel(), many[:STEP])
    assert np.array_equal(values(Fill(std=0.02), (5,)), many[:5])
    assert np.array_equal(
        values(Fill(mean=1.0, std=0.04), (5,)), many[:5] * np.float32(2) + np.float32(1)
    )


def test_constant() -> None:
    """Without a deviation every element is the mean, in whatever dtype."""
    for dtype in ("float32", "float16", "bfloat16", "float64"):
        assert np.array_equal(
            values(Fill(mean=1.0), (3, 5), dtype=dtype), np.ones((3, 5), np.float32)
        )
        assert not values(Fill(), (STEP + 1,), dtype=dtype).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes_hold_the_same_values(many: NDArray[np.float32], dtype: str) -> None:
    """A narrower tensor holds the same draw, rounded; a wider one holds it exactly."""
    result = values(Fill(std=0.02), (4096,), dtype=dtype)
    step = {"float16": 2**-11, "bfloat16": 2**-8, "float64": 0.0}[dtype]
    assert np.all(
        np.abs(result - many[:4096]) <= step * np.abs(many[:4096]) + (2**-25 if step else 0)
    )
    assert np.array_equal(result, many[:4096]) == (dtype == "float64")


def test_nothing() -> None:
    """An empty tensor, such as the table of a vocabulary of none, has no pieces."""
    assert list(drawn(Fill(std=0.02), TensorSpec(NAME, "float32", (0, 7)))) == []
