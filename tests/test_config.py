"""Lists in a config: sizes and words, each refused by its name."""

from __future__ import annotations

import pytest

from ckptconv.config import Config, Json
from ckptconv.errors import SourceError


def test_sizes() -> None:
    """A list of whole numbers comes back as it stands."""
    assert Config({"block_sizes": [4, 0, 2]}).sizes("block_sizes") == (4, 0, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "'block_sizes' must be a list of whole numbers, found 3"),
        (None, "'block_sizes' must be a list of whole numbers, found nothing"),
        ([4, True], r"'block_sizes\[1\]' must be a whole number, found True"),
        ([-1], r"'block_sizes\[0\]' must be a whole number, found -1"),
    ],
)
def test_sizes_refused(value: Json, message: str) -> None:
    """Anything else is refused, with the place in the list."""
    with pytest.raises(SourceError, match=message):
        Config({"block_sizes": value}).sizes("block_sizes")


@pytest.mark.parametrize("value", [["C2P", "p2c"], "c2p|P2C", "c2p | p2c "])
def test_words(value: Json) -> None:
    """A list, or the text that old configs have for it."""
    assert Config({"pos_att_type": value}).words("pos_att_type") == ("c2p", "p2c")


def test_no_words() -> None:
    """Absent or null is no word; a number is refused."""
    assert Config({"pos_att_type": None}).words("pos_att_type") == Config({}).words("pos_att_type") == ()
    with pytest.raises(SourceError, match="'pos_att_type' must be a list of words, found 7"):
        Config({"pos_att_type": 7}).words("pos_att_type")
