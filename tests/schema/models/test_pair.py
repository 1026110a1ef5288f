"""An encoder, a decoder and the bridge between them: prefixes, refusals and healings; no framework runs."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import pytest

from ckptconv.base.errors import SourceError
from ckptconv.schema.config import Config
from ckptconv.schema.fixes import RowRange
from ckptconv.schema.model import Model, read_model
from ckptconv.schema.tensors import NAMING_NAMES, NamingName, SchemaTensor
from covering import over
from tiny import pairs, plain

READS = {"is_decoder": True, "add_cross_attention": True}


def pair(encoder: dict[str, Any], decoder: dict[str, Any], /, **whole: Any) -> Model:
    """Compose two configs; the decoder reads the encoder unless its own config says otherwise."""
    parts = {"encoder": encoder, "decoder": READS | decoder}
    return read_model(Config({"model_type": "encoder-decoder"} | parts | whole))


def refusal(encoder: dict[str, Any], decoder: dict[str, Any], /, **whole: Any) -> list[str]:
    """Return the lines of the refusal of a pair."""
    with pytest.raises(SourceError) as caught:
        pair(encoder, decoder, **whole)
    return str(caught.value).splitlines()


@cache
def rows_of(encoder: str, decoder: str) -> tuple[SchemaTensor, ...]:
    """Return the tensors of a pair of two families."""
    return pair(plain(encoder), plain(decoder)).tensors


@over(("encoder", "decoder"), pairs())
def test_every_row_lies_on_a_side(encoder: str, decoder: str) -> None:
    """Every name in every naming starts with the side that its part says."""
    sides = {
        "encoder": "encoder",
        "cross-attention": "decoder",
        "decoder": "decoder",
        "head": "decoder",
    }
    for row in rows_of(encoder, decoder):
        expected = sides.get(row.module.part, "enc_to_dec_proj")
        assert row.key.replace("/", ".").split(".")[0] == expected
        for spelling in row.spellings.values():
            assert {name.replace("/", ".").split(".")[0] for name in spelling.names} == {expected}


@over(("encoder", "decoder"), pairs())
def test_every_name_is_there_once(encoder: str, decoder: str) -> None:
    """No two rows of a pair have a name in common."""
    rows = rows_of(encoder, decoder)
    for naming in NAMING_NAMES:
        names = [
            name for row in rows if naming in row.spellings for name in row.spellings[naming].names
        ]
        assert len(set(names)) == len(names)


def test_first_levels() -> None:
    """TF has one level more than the others on the encoder's side, and the head beside the decoder's base."""
    rows = pair(plain("bert"), plain("gpt2") | {"tie_word_embeddings": False}).tensors
    levels = {
        naming: sorted(
            {
                "/".join(row.spellings[naming].names[0].replace(".", "/").split("/")[:2])
                for row in rows
                if naming in row.spellings and row.module.presence != "dropped"
            }
        )
        for naming in NAMING_NAMES
    }
    assert levels == {
        "pytorch": [
            "decoder/lm_head",
            "decoder/transformer",
            "encoder/embeddings",
            "encoder/encoder",
            "encoder/pooler",
        ],
        "tf": ["decoder/transformer", "encoder/bert"],
        "flax": [
            "decoder/lm_head",
            "decoder/transformer",
            "encoder/embeddings",
            "encoder/encoder",
            "encoder/pooler",
        ],
    }


WIDE = {"hidden_size": 39}
FROM_WIDE = ["enc_to_dec_proj.weight (21, 39)", "enc_to_dec_proj.bias (21,)"]


@pytest.mark.parametrize(
    ("encoder", "decoder", "bridge"),
    [
        ({}, {}, []),
        (WIDE, {}, FROM_WIDE),
        ({}, WIDE, ["enc_to_dec_proj.weight (39, 21)", "enc_to_dec_proj.bias (39,)"]),
        ({}, {"cross_attention_hidden_size": 21}, []),
        (WIDE, {"cross_attention_hidden_size": None}, FROM_WIDE),
    ],
)
def test_bridge(encoder: dict[str, Any], decoder: dict[str, Any], bridge: list[str]) -> None:
    """There is a projection where the widths differ."""
    composition = pair(plain("bert") | encoder, plain("bert") | decoder)
    rows = [row for row in composition.tensors if row.module.part == "bridge"]
    assert [f"{row.key} {row.shape('pytorch')}" for row in rows] == bridge
    assert composition.has_bridge == bool(bridge)


def test_bridge_between_families_that_name_their_width_otherwise() -> None:
    """GPT-2's `n_embd` is a width as well, under its own name and under the common one."""
    narrow = {key: value for key, value in plain("gpt2").items() if key != "n_embd"}
    assert pair(plain("bert"), narrow | {"n_embd": 15}).has_bridge
    assert pair(plain("bert"), narrow | {"hidden_size": 15}).has_bridge


def test_another_kind_of_model_is_refused() -> None:
    """A checkpoint of another kind is told what it is, and what would serve."""
    first, tables, advice = refusal(plain("bert"), plain("bert"), model_type="bert")
    assert first == (
        "config.json: model type 'bert' is no encoder-decoder that ckptconv has a table for."
    )
    assert tables.startswith("There are tables for encoder-decoder")
    assert " bart, " in tables
    assert advice == "This is one model; `ckptconv join ENCODER DECODER OUT` makes a pair of two."
    first, tables = refusal(plain("bert"), plain("bert"), model_type="fsmt")
    assert first == (
        "config.json: model type 'fsmt' is no encoder-decoder that ckptconv has a table for."
    )


def test_an_unknown_family_is_refused_with_a_suggestion() -> None:
    """A misspelt model type is answered with the nearest one that has a table."""
    lines = refusal(plain("bert") | {"model_type": "robertta"}, plain("bert"))
    assert (
        lines[0]
        == "config.json: encoder: no table for model type 'robertta'. Did you mean 'roberta'?"
    )
    assert lines[1].startswith("There are tables for: ")


def test_an_unknown_family_like_no_other_gets_no_suggestion() -> None:
    """There is no suggestion where nothing is near, and nothing unprintable gets through."""
    lines = refusal(plain("bert"), plain("bert") | {"model_type": "\x1b[2Jzzz"})
    assert lines[0] == "config.json: decoder: no table for model type '\\x1b[2Jzzz'."


@pytest.mark.parametrize("key", READS)
@pytest.mark.parametrize("value", [False, None])
def test_a_decoder_that_does_not_read_the_encoder_is_refused(key: str, value: bool | None) -> None:
    """Both switches must be on: without either the class has no cross-attention that reads the encoder."""
    stated = "nothing" if value is None else "false"
    assert refusal(plain("bert"), plain("gpt2") | {key: value}) == [
        f"config.json: decoder: {key!r} must be true, found {stated}: this decoder does not read the encoder.",
        "`ckptconv join ENCODER DECODER OUT` makes an encoder-decoder of two models."
        f" Where these weights hold a cross-attention, set {key!r} to true.",
    ]


@pytest.mark.parametrize("declared", [19, 0])
def test_a_contradictory_width_is_refused(declared: int) -> None:
    """A width for cross-attention must be the encoder's, as the classes demand."""
    (line,) = refusal(plain("bert"), plain("bert") | {"cross_attention_hidden_size": declared})
    message = f"'cross_attention_hidden_size' is {declared}"
    assert line == f"config.json: decoder: {message}, but the encoder's hidden size is 21."


def test_a_width_that_the_decoder_cannot_read_is_refused() -> None:
    """With the encoder's width declared, the classes make no projection, and the decoder crashes."""
    (line,) = refusal(plain("bert") | WIDE, plain("bert") | {"cross_attention_hidden_size": 39})
    message = "'cross_attention_hidden_size' is 39, but the decoder's hidden size is 21"
    assert line == f"config.json: decoder: {message}, and it reads the encoder with no other."


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_missing_half_is_refused(part: str) -> None:
    """A config without one of its halves is refused by the name of the half."""
    assert refusal(plain("bert"), plain("bert"), **{part: None}) == [
        f"config.json: {part!r} must be an object, found nothing"
    ]


def test_pair_name() -> None:
    """A pair is named by its model types, in the order of the data flow."""
    assert pair(plain("roberta"), plain("gpt2")).label == "roberta -> gpt2"


Healing: TypeAlias = tuple[str, dict[str, int], dict[str, int]]
"""Module, record and changes to the config."""
BERT_TYPES: Healing = (
    "encoder.embeddings.token_type_embeddings",
    {"repeated_row_0": 29, "type_vocab_size": 2},
    {"encoder.type_vocab_size": 30},
)
ROBERTA_TYPES: Healing = (
    "encoder.embeddings.token_type_embeddings",
    {"repeated_row_0": 31, "type_vocab_size": 1},
    {"encoder.type_vocab_size": 31},
)
ENCODER_ROLL: Healing = ("encoder.embeddings.position_embeddings", {"rolled_rows": 2}, {})
DECODER_ROLL: Healing = ("decoder.roberta.embeddings.position_embeddings", {"rolled_rows": 2}, {})


@pytest.mark.parametrize(
    ("encoder", "decoder", "expected"),
    [
        ("bert", "bert", [BERT_TYPES]),
        ("bert", "gpt2", [BERT_TYPES]),
        ("bert", "roberta", [BERT_TYPES, DECODER_ROLL]),
        ("roberta", "bert", [ENCODER_ROLL, ROBERTA_TYPES]),
        ("roberta", "roberta", [ENCODER_ROLL, ROBERTA_TYPES, DECODER_ROLL]),
        ("gpt2", "gpt2", []),
    ],
)
def test_healings(encoder: str, decoder: str, expected: list[Healing]) -> None:
    """Each side of a pair brings its own healings, with paths and config keys of the whole."""
    result = pair(plain(encoder), plain(decoder)).fixes()
    assert [(item.module, dict(item.record), dict(item.config)) for item in result] == expected


@over(("encoder", "decoder"), pairs("flax"))
def test_healings_move_rows_of_tables_that_exist(encoder: str, decoder: str) -> None:
    """Every healing of every pair names a table of the pair, and loses none of its rows."""
    composition = pair(plain(encoder), plain(decoder))
    rows = {row.key: row for row in composition.tensors}
    for healed in composition.fixes():
        kept = [index for row in healed.rows for index in range(row.start, row.stop)]
        assert sorted(kept) == list(range(rows[f"{healed.module}.weight"].sizes["row"]))


def test_healed_rows() -> None:
    """Positions roll up to the first that PyTorch uses, and token type 0 repeats for each position."""
    result = pair(plain("roberta") | {"type_vocab_size": 3}, plain("bert")).fixes()
    assert [item.rows for item in result] == [
        (RowRange(2, 31), RowRange(0, 2)),
        (RowRange(0, 1, 31), RowRange(1, 3)),
    ]
    assert [item.count for item in result] == [31, 33]


@pytest.mark.parametrize(
    ("encoder", "decoder", "naming", "expected"),
    [
        (
            plain("xlm") | {"emb_dim": 15},
            plain("bert"),
            "tf",
            {"encoder": {"initializer_range": 0.02}},
        ),
        (
            plain("xlm") | {"emb_dim": 15},
            plain("bert"),
            "flax",
            {"decoder": {"initializer_range": 0.02}},
        ),
        (
            plain("xlm") | {"emb_dim": 15, "initializer_range": 0.5},
            plain("bert"),
            "tf",
            {"encoder": {}},
        ),
        (plain("xlm") | {"emb_dim": 15}, plain("bert"), "pytorch", {}),
        (plain("xlm"), plain("bert"), "tf", {}),
        (plain("bert"), {"model_type": "xglm", "d_model": 21, "attention_heads": 3}, "tf", {}),
        (
            plain("bert"),
            {"model_type": "xglm", "d_model": 21, "attention_heads": 3},
            "flax",
            {"decoder": {"decoder_attention_heads": 3}},
        ),
    ],
)
def test_settings_that_a_class_reads_and_a_config_lacks(
    encoder: dict[str, Any], decoder: dict[str, Any], naming: NamingName, expected: dict[str, Any]
) -> None:
    """A bridge needs `initializer_range` on one side, XGLM in Flax its heads; what is there stays."""
    assert pair(encoder, decoder).settings(naming) == expected
