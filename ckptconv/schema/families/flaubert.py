"""FlauBERT, as an encoder: XLM's stack, with the norms before each part where `pre_norm` says so.

Source: transformers 4.57.6, models/flaubert/modeling_flaubert.py, modeling_tf_flaubert.py.
"""

from __future__ import annotations

from ckptconv.schema.families._xlm import XLM_ALIASES, XLM_DEFAULTS, xlm_limits, xlm_stack
from ckptconv.schema.family import Encoder, Family

FAMILY = Family(
    model_type="flaubert",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(
        xlm_stack, {"pytorch": "FlaubertModel", "tf": "TFFlaubertModel"}, limits=xlm_limits
    ),
    defaults=XLM_DEFAULTS,
    aliases=XLM_ALIASES,
)
