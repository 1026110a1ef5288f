"""XLM, as an encoder; its head has no cross-attention.

Source: transformers 4.57.6, models/xlm/modeling_xlm.py, modeling_tf_xlm.py.

Sinusoidal positions are a table of weights like any other in PyTorch; TF's class raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import only
from ckptconv.schema.families._xlm import XLM_ALIASES, XLM_DEFAULTS, xlm_limits, xlm_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import NamingName


def limits(c: Config) -> Mapping[NamingName, str]:
    """What TF's class cannot be built or run with."""
    return xlm_limits(c) | only(c, "sinusoidal_embeddings", False, "TF's class is not made for it")


FAMILY = Family(
    model_type="xlm",
    base="transformer",
    main_layer="transformer",
    encoder=Encoder(xlm_stack, {"pytorch": "XLMModel", "tf": "TFXLMModel"}, limits=limits),
    defaults=XLM_DEFAULTS,
    aliases=XLM_ALIASES,
)
