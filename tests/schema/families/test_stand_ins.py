"""Families that the class of another one holds: what is written is what that family's own table says; no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.compare.configs import config_differences
from ckptconv.schema.config import Config
from ckptconv.schema.family import FAMILIES
from ckptconv.schema.model import Model, Role, read_model, without_fixes
from ckptconv.schema.tensors import NAMING_NAMES, NamingName
from ckptconv.stores.companions import whole_config
from ckptconv.verbs.families import families as supports
from ckptconv.verbs.planning import standing_in
from probing import CROSS
from wholes import config_of

BERT: Mapping[str, Any] = {"model_type": "bert", "vocab_size": 31, "num_hidden_layers": 1}
SMALL: Mapping[str, Any] = {"vocab_size": 29, "hidden_size": 768, "num_hidden_layers": 1}
TROCR: Mapping[str, Any] = {"vocab_size": 29, "d_model": 768, "decoder_layers": 1}


def model_of(family: str, role: Role) -> Model:
    """Return a small model with a family in a role, with a BERT on the other side of a pair."""
    if role == "whole":
        return read_model(Config({**config_of("seq2seq", family), "use_prompt": False}))
    bart_like = family in ("trocr", "plbart", "mvp")
    own = {"model_type": family, **(TROCR if bart_like else SMALL)}
    if FAMILIES[family].encoder and FAMILIES[family].encoder.reads != "tokens":
        kind = "vision" if FAMILIES[family].encoder.reads == "pixels" else "speech"
        return read_model(Config(config_of(kind, family)))
    sides = {"encoder": own, "decoder": {**BERT, **CROSS}}
    if role == "decoder":
        sides = {"encoder": dict(BERT), "decoder": {**own, **CROSS}}
    return read_model(Config({"model_type": "encoder-decoder", **sides}))


def _cases() -> Iterator[Any]:
    roles: tuple[Role, ...] = ("encoder", "decoder", "whole")
    for name, family in FAMILIES.items():
        for role in roles:
            tables = getattr(family, role)
            for naming in NAMING_NAMES:
                if tables is not None and naming in tables.stand_ins:
                    yield pytest.param(name, role, naming, id=f"{name}-{role}-{naming}")


CASES = list(_cases())


def written(model: Model, naming: NamingName) -> Config:
    """Return the config that a conversion writes."""
    standing = standing_in(model, naming)
    values = whole_config(
        standing.config, standing.pytorch_class, (), None, standing.added, standing.changed
    )
    return Config(values)


def stored(model: Model, naming: NamingName) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a target: name -> shape."""
    return {
        tensor.names_in(naming)[0]: tensor.shape(naming)
        for tensor in model.tensors
        if tensor.is_written_in(naming)
    }


@pytest.mark.parametrize(("family", "role", "naming"), CASES)
def test_what_is_written_is_what_the_other_class_has(
    family: str, role: Role, naming: NamingName
) -> None:
    """Read without the record, the target is a whole model of the other family: every name, every shape."""
    model = model_of(family, role)
    model.require_class(naming)
    config = written(model, naming)
    plain = Config({key: value for key, value in config.values.items() if key != "ckptconv"})
    second = read_model(plain)
    assert second.label != model.label
    assert second.classes[naming] == model.classes[naming]
    assert stored(model, naming) == stored(second, naming)


@pytest.mark.parametrize(("family", "role", "naming"), CASES)
def test_the_record_undoes_it(family: str, role: Role, naming: NamingName) -> None:
    """Read with the record, the target's config is the source's again, with some of its defaults spelt out."""
    model = model_of(family, role)
    again = without_fixes(written(model, naming))
    assert again.get("model_type") == model.config.get("model_type")
    assert config_differences(model.config, again) == ()
    assert {*again.values} >= {*model.config.values}


def test_defaults_that_differ_are_written() -> None:
    """NLLB scales its embeddings unless it says otherwise, and Blenderbot does not."""
    values = {
        key: value
        for key, value in config_of("seq2seq", "m2m_100").items()
        if key != "scale_embedding"
    }
    assert written(read_model(Config(values)), "tf").values["scale_embedding"] is True


@pytest.mark.parametrize(
    ("family", "role", "key", "expected"),
    [
        ("m2m_100", "whole", {"decoder_start_token_id": 1, "pad_token_id": 1}, "padding token"),
        ("mvp", "whole", {"use_prompt": True}, "has no prompts"),
        ("ernie", "encoder", {"use_task_id": True}, "no table of tasks"),
        ("trocr", "decoder", {"layernorm_embedding": False}, "has that norm always"),
        ("trocr", "decoder", {"use_learned_position_embeddings": False}, "counts it"),
    ],
)
def test_what_the_other_class_lacks_is_refused(
    family: str, role: Role, key: dict[str, Any], expected: str
) -> None:
    """A setting that the other class has no place for is named."""
    values: dict[str, Any] = dict(model_of(family, role).config.values)
    values = {**values, **key} if role == "whole" else {**values, role: {**values[role], **key}}
    with pytest.raises(SourceError) as refusal:
        read_model(Config(values)).require_class("flax")
    assert expected in str(refusal.value)


def test_families_say_as_what() -> None:
    """The list of families names whose class it is."""
    named = {
        (each.model_type, each.side, each.naming): (each.status, each.stand_in)
        for each in supports()
        if each.stand_in
    }
    assert named["m2m_100", "one piece", "tf"] == ("exact", "Blenderbot")
    assert named["data2vec-text", "encoder", "flax"] == ("healed", "RoBERTa")
    assert named["trocr", "decoder", "flax"] == ("exact", "BART")


@pytest.mark.parametrize("record", [3, [3], [{"part": 1, "was": {}}], [{"part": ""}]])
def test_a_malformed_record_is_refused(record: Any) -> None:
    """What is no list of parts and keys is refused by name."""
    config = Config({"model_type": "bart", "ckptconv": {"stand_ins": record}})
    with pytest.raises(SourceError, match="stand_ins must be a list"):
        without_fixes(config)
