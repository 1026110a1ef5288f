"""CamemBERT: RoBERTa's tensors under RoBERTa's names; there is no Flax class, and RoBERTa's stands in.

Source: transformers 4.57.6, models/camembert/modeling_camembert.py, modeling_tf_camembert.py. Irregular: the
base model and TF's main layer are called `roberta` as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckptconv.schema.families._roberta import ROBERTA_DEFAULTS, roberta_decoder, roberta_encoder
from ckptconv.schema.family import Family, StandIn
from ckptconv.schema.tensors import NamingName

AS_ROBERTA: Mapping[NamingName, StandIn] = {"flax": StandIn("roberta", "RoBERTa")}

FAMILY = Family(
    model_type="camembert",
    base="roberta",
    main_layer="roberta",
    encoder=roberta_encoder(
        {"pytorch": "CamembertModel", "tf": "TFCamembertModel", "flax": "FlaxRobertaModel"},
        AS_ROBERTA,
    ),
    decoder=roberta_decoder(
        {
            "pytorch": "CamembertForCausalLM",
            "tf": "TFCamembertForCausalLM",
            "flax": "FlaxRobertaForCausalLM",
        },
        AS_ROBERTA,
    ),
    defaults={**ROBERTA_DEFAULTS, "vocab_size": 30522},
    positions="padding",
)
