"""`sides`: a model alone has the modules that it has in a pair."""

from __future__ import annotations

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.schema.config import Config
from ckptconv.schema.models.pair import compose
from ckptconv.schema.models.sides import decoder_modules, encoder_modules, read_side
from conftest import DECODER, SIDES


@pytest.mark.parametrize(("encoder", "decoder"), [("bert", "gpt2"), ("gpt2", "roberta")])
def test_two_sides_are_the_whole(encoder: str, decoder: str) -> None:
    """An encoder's modules, a decoder's and its head's are those of the pair, in the same order."""
    parts = SIDES[encoder], SIDES[decoder] | DECODER
    one, other = (read_side(Config(part)) for part in parts)
    assert one.family.encoder is not None
    assert other.family.decoder is not None
    stack, head = decoder_modules(other, other.family.decoder)
    whole = compose(
        Config({"model_type": "encoder-decoder", "encoder": parts[0], "decoder": parts[1]})
    )
    assert (*encoder_modules(one, one.family.encoder), *stack, *head) == tuple(whole.modules())


def test_a_family_without_tables() -> None:
    """A model type that nobody wrote a table for is refused."""
    with pytest.raises(SourceError, match="t5"):
        read_side(Config({"model_type": "t5"}))
