"""What the tests of several formats share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the path at which a test puts its file."""
    return tmp_path / "pytorch_model.bin"
