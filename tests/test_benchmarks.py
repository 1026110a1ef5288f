"""Scripts that measure: each writes its own section of the results, of models as large as it says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ckptconv.schema.config import Config
from ckptconv.schema.model import read_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scripts be imported as they import each other."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def test_a_benchmark_leaves_the_sections_of_others(tmp_path: Path) -> None:
    """A section takes the place of its last one, or comes at the end."""
    import results  # type: ignore[import-not-found]

    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\ntable\n\n## verify\n\nold\nlines\n\n## export\n\nthird\n")
    results.record("## verify", "new", path)
    results.record("## images", "fourth\n", path)
    assert path.read_text() == (
        "# Results\n\ntable\n\n## verify\n\nnew\n\n## export\n\nthird\n\n## images\n\nfourth\n"
    )


@pytest.mark.parametrize("name", ["bert-base", "t5-base", "vit-gpt2", "whisper-small"])
def test_the_models_are_as_large_as_real_ones(name: str) -> None:
    """By the tables, each is 0.89 to 0.99 GB of float32."""
    import make_pair  # type: ignore[import-not-found]

    tensors = read_model(Config(make_pair.CONFIGS[name])).tensors
    numbers = sum(int(np.prod(each.shape("pytorch"))) for each in tensors if each.required)
    assert 0.89e9 < 4 * numbers < 0.99e9
