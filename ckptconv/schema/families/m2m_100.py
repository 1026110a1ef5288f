"""M2M100 and NLLB-200: BART with its norms first, and positions of sines that count past padding.

Source: transformers 4.57.6, models/m2m_100. PyTorch alone has a class, which computes its positions.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._bart import BART_ALIASES, BART_DEFAULTS, Style, bart_whole
from ckptconv.schema.families._blocks import REBUILT
from ckptconv.schema.family import Family, Whole
from ckptconv.schema.tensors import Module, buffer


def positions(_c: Config) -> Iterator[Module]:
    """The buffer of sines, which is saved by no version; old ones saved a marker of its device."""
    yield buffer("embed_positions.weights", REBUILT)


STYLE = Style(positions, last_norm=True, biased=False)

FAMILY = Family(
    model_type="m2m_100",
    whole=Whole(bart_whole(STYLE), {"pytorch": "M2M100ForConditionalGeneration"}),
    defaults={**BART_DEFAULTS, "vocab_size": 128112, "activation_function": "relu"},
    aliases=BART_ALIASES,
)
