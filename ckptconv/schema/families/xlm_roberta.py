"""XLM-RoBERTa: RoBERTa's tensors under RoBERTa's names.

Source: transformers 4.57.6, models/xlm_roberta/modeling_xlm_roberta.py, modeling_tf_xlm_roberta.py,
modeling_flax_xlm_roberta.py. Irregular: the base model and TF's main layer are called `roberta` as well,
which is why `from_pt=True` loses the whole encoder.
"""

from __future__ import annotations

from ckptconv.schema.families._roberta import ROBERTA_DEFAULTS, roberta_decoder, roberta_encoder
from ckptconv.schema.family import Family

FAMILY = Family(
    model_type="xlm-roberta",
    base="roberta",
    main_layer="roberta",
    encoder=roberta_encoder(
        {"pytorch": "XLMRobertaModel", "tf": "TFXLMRobertaModel", "flax": "FlaxXLMRobertaModel"}
    ),
    decoder=roberta_decoder(
        {
            "pytorch": "XLMRobertaForCausalLM",
            "tf": "TFXLMRobertaForCausalLM",
            "flax": "FlaxXLMRobertaForCausalLM",
        }
    ),
    defaults={**ROBERTA_DEFAULTS, "vocab_size": 30522},
    positions="padding",
)
