"""Every family whose class holds encoder, decoder and head is a kind of model; what it is, `schema/seq2seq.py` says."""

from __future__ import annotations

from ckptconv.schema.family import FAMILIES, Whole
from ckptconv.schema.model import ModelType
from ckptconv.schema.seq2seq import read_seq2seq

MODELS = tuple(
    ModelType(
        family.model_type,
        "one piece",
        {str(naming): name for naming, name in family.whole.classes.items()},
        read_seq2seq,
    )
    for family in FAMILIES.values()
    if isinstance(family.whole, Whole)
)
