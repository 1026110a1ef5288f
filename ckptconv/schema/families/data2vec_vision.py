"""data2vec for images: BEiT under another name.

Source: transformers 4.57.6, models/data2vec/modeling_data2vec_vision.py, modeling_tf_data2vec_vision.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._beit import BEIT_DEFAULTS, beit_stack
from ckptconv.schema.families._vit import image_limits
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName


def limits(c: Config) -> dict[NamingName, str]:
    """What TF's class lacks beside: a norm of its own where the pooler has none."""
    reasons = image_limits(c)
    if not c.flag("use_mean_pooling", default=True):
        reasons["tf"] = "'use_mean_pooling' is false, with which this class crashes"
    return reasons


def encoder(c: Config) -> Iterator[Module]:
    """`Data2VecVisionModel`."""
    return beit_stack(c, pooled=False)


FAMILY = Family(
    model_type="data2vec-vision",
    base="data2vec_vision",
    main_layer="data2vec_vision",
    encoder=Encoder(
        encoder,
        {"pytorch": "Data2VecVisionModel", "tf": "TFData2VecVisionModel"},
        limits=limits,
        reads="pixels",
    ),
    defaults=BEIT_DEFAULTS,
)
