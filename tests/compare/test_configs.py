"""`differing_config`: keys that change answers, with defaults for what a file leaves out."""

from __future__ import annotations

import os
import runpy
from typing import Any
from unittest.mock import patch

import pytest

from ckptconv.base.strict_json import read_json
from ckptconv.compare.configs import DEFAULTS, DEFAULTS_FILE, ConfigDifference, config_differences
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES
from tiny import CONFIGS, ROOT


def differences(one: dict[str, Any], other: dict[str, Any]) -> tuple[ConfigDifference, ...]:
    """Compare two configs."""
    return config_differences(Config(one), Config(other))


@pytest.mark.parametrize(
    "key",
    [
        "hidden_dropout_prob",
        "attn_pdrop",
        "layerdrop",
        "torch_dtype",
        "id2label",
        "_name_or_path",
        "transformers_version",
        "use_cache",
        "architectures",
    ],
)
def test_what_no_answer_depends_on(key: str) -> None:
    """Dropout, labels, versions and what a pass returns make no difference."""
    assert differences({"model_type": "bert", key: 1}, {"model_type": "bert", key: 2}) == ()


def test_a_default_is_as_good_as_the_value() -> None:
    """What a file leaves out has the family's default, or that of all configs; absent, null and false are one."""
    one = {
        "model_type": "bert",
        "num_hidden_layers": 12,
        "tie_word_embeddings": True,
        "is_decoder": False,
        "sep_token_id": None,
    }
    assert differences(one, {"model_type": "bert"}) == ()
    assert differences({"model_type": "bert", "hidden_act": "relu"}, {"model_type": "bert"}) == (
        ConfigDifference("hidden_act", "relu", "gelu"),
    )


def test_every_family_has_its_defaults() -> None:
    """A family that is added without fixtures/make_defaults.py fails here, not only beside transformers."""
    assert read_json(ROOT / "ckptconv" / "schema" / DEFAULTS).keys() == FAMILIES.keys()


def test_zero_is_a_value() -> None:
    """0 and null differ, unless the class fills in the 0: BERT pads with token 0."""
    assert differences({"model_type": "bert", "bos_token_id": 0}, {"model_type": "bert"}) == (
        ConfigDifference("bos_token_id", 0, None),
    )
    assert differences({"model_type": "bert", "pad_token_id": 0}, {"model_type": "bert"}) == ()
    assert differences({"model_type": "bert", "pad_token_id": None}, {"model_type": "bert"}) == (
        ConfigDifference("pad_token_id", None, 0),
    )
    assert (
        differences({"model_type": "roberta", "bos_token_id": 0}, {"model_type": "roberta"}) == ()
    )


def test_a_familys_own_name_for_a_key() -> None:
    """A key under the common name and under the family's own is one key."""
    assert (
        differences({"model_type": "gpt2", "n_embd": 8}, {"model_type": "gpt2", "hidden_size": 8})
        == ()
    )


def test_sides_are_levels() -> None:
    """Each side is read with its own family's defaults, and the key says where."""
    first = {
        "encoder": {"model_type": "bert", "hidden_act": "gelu"},
        "decoder": {"model_type": "gpt2"},
    }
    second = {
        "encoder": {"model_type": "bert", "hidden_act": "relu"},
        "decoder": {"model_type": "bert"},
    }
    assert differences(first, second) == (
        ConfigDifference("decoder.model_type", "gpt2", "bert"),
        ConfigDifference("encoder.hidden_act", "gelu", "relu"),
    )


def test_an_epsilon_that_a_file_leaves_out() -> None:
    """What the class fills in counts as stated: the same value is no difference, another one is."""
    assert (
        differences({"model_type": "bert"}, {"model_type": "bert", "layer_norm_eps": 1e-12}) == ()
    )
    assert differences({"model_type": "bert", "layer_norm_eps": 1e-5}, {"model_type": "bert"}) == (
        ConfigDifference("layer_norm_eps", 1e-5, 1e-12),
    )


@pytest.mark.frameworks
def test_a_config_that_transformers_saves_anew_is_the_same() -> None:
    """The class fills in what a file leaves out, and no family's defaults are others than those that are known."""
    with patch.dict(os.environ, {"USE_TORCH": "1", "USE_TF": "0", "USE_FLAX": "0"}):
        from transformers import AutoConfig

        script = runpy.run_path(str(ROOT / "fixtures" / "make_defaults.py"))
        pinned = read_json(ROOT / "ckptconv" / "schema" / DEFAULTS_FILE)
        assert script["generation_defaults"]() == pinned
        assert {name: script["defaults"](name) for name in FAMILIES} == read_json(
            ROOT / "ckptconv" / "schema" / DEFAULTS
        )
        plain = {
            f"{name} {item['variant']}": item["config"]
            for name, some in CONFIGS.items()
            for item in some
        }
        result = {
            name: differences(one, AutoConfig.for_model(**one).to_dict())
            for name, one in plain.items()
        }
        assert {name: [item.key for item in some] for name, some in result.items() if some} == {
            "deberta c2p": ["pos_att_type"],  # in capitals, which the class mends
            "rembert tied": ["tie_word_embeddings"],  # which the class overrules
        }
