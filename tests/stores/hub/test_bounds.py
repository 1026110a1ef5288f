"""What a hub may answer is bounded: bytes of a list, bytes of a file, and the time that they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ckptconv.stores.hub.bounds import (
    GRACE_SECONDS,
    MIN_RATE,
    BoundExceeded,
    Bounds,
    Meter,
    bounded,
)
from hub_server import Hub, folder_files, serving

if TYPE_CHECKING:
    from conftest import Cli, Run


def test_slow_answers() -> None:
    """One byte a second ends soon after the grace; what is just fast enough goes on."""
    now = [0.0]

    def ticking(rate: float) -> Iterator[bytes]:
        for _ in range(1000):
            now[0] += 1
            yield bytes(int(rate))

    meter = Meter(None, "", clock=lambda: now[0])
    passed = []
    with pytest.raises(BoundExceeded, match="too slow"):
        passed.extend(meter.metered(ticking(1)))
    assert len(passed) == GRACE_SECONDS
    now[0] = 0.0
    meter = Meter(None, "", clock=lambda: now[0])
    assert len(list(meter.metered(ticking(MIN_RATE)))) == 1000


def test_long_answers() -> None:
    """A list has a limit of its own, a file the size that was announced."""
    bounds = Bounds()
    bounds.meter(
        "HEAD", "https://h/org/x/resolve/main/f", {"content-length": "1", "x-linked-size": "5"}
    )
    meter = bounds.meter("GET", "https://h/org/x/resolve/main/f?a=b", {})
    assert list(meter.metered([b"12", b"345"])) == [b"12", b"345"]
    with pytest.raises(BoundExceeded, match="more bytes than the 5 that were announced"):
        list(meter.metered([b"6"]))
    listing = bounds.meter("GET", "https://h/api/models/org/x", {})
    with pytest.raises(BoundExceeded, match="--limit json_bytes=N"):
        list(listing.metered([bytes(1 << 20)] * 17))


def test_no_way_past_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """hf_xet, which opens connections of its own, is off while bounds hold, and as the user has it afterwards."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _runtime

    monkeypatch.setattr(_runtime, "is_package_available", lambda name: True, raising=False)
    for usual in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", usual)
        with bounded():
            assert not _runtime.is_xet_available()
        assert usual == constants.HF_HUB_DISABLE_XET


@pytest.fixture
def hub(dates: Path) -> Iterator[Hub]:
    """Return a running hub with the trained checkpoint."""
    with serving(Hub({"org/dates": {"main": folder_files(dates)}})) as running:
        yield running


@pytest.fixture
def look(run: Cli, hub: Hub, tmp_path: Path) -> Callable[[], Run]:
    """Return what converts the hub's model, with an empty cache."""
    pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")
    env = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    return lambda: run("normalize", "org/dates", tmp_path / "out", env=env)


@pytest.mark.thorough
def test_hostile_answers(look: Callable[[], Run], hub: Hub, tmp_path: Path) -> None:
    """An endless list, a file that is longer than announced and a commit that is a path end in one sentence each."""
    hub.endless = True
    outcome = look()
    assert (
        outcome.code,
        "an answer of more than 16777216 bytes" in " ".join(outcome.err.split()),
    ) == (
        5,
        True,
    )
    hub.endless, hub.sha = False, "../../../../hubpwn"
    outcome = look()
    assert (outcome.code, "as its commit, which is none" in " ".join(outcome.err.split())) == (
        3,
        True,
    )
    hub.sha, hub.longer = "", {"model.safetensors": 64 << 20}
    outcome = look()
    assert (outcome.code, "that were announced" in " ".join(outcome.err.split())) == (5, True)
    stored = sum(path.stat().st_size for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert stored < 8 << 20
    hub.longer = {}
    assert look().code == 0
