"""RoBERTa: BERT's stack with another head, and positions that count from `pad_token_id + 1`.

Source: transformers 4.57.6, models/roberta/modeling_roberta.py, modeling_tf_roberta.py, modeling_flax_roberta.py.
"""

from __future__ import annotations

from ckptconv.schema.families._roberta import ROBERTA_DEFAULTS, roberta_decoder, roberta_encoder
from ckptconv.schema.family import Family

FAMILY = Family(
    model_type="roberta",
    base="roberta",
    main_layer="roberta",
    encoder=roberta_encoder(
        {"pytorch": "RobertaModel", "tf": "TFRobertaModel", "flax": "FlaxRobertaModel"}
    ),
    decoder=roberta_decoder(
        {
            "pytorch": "RobertaForCausalLM",
            "tf": "TFRobertaForCausalLM",
            "flax": "FlaxRobertaForCausalLM",
        }
    ),
    defaults=ROBERTA_DEFAULTS,
    positions="padding",
)
