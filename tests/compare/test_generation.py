"""`generation`: two settings are one exactly when `generate` of the real class cannot tell them apart."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ckptconv.compare.configs import generate_defaults, normal, resolved
from ckptconv.schema.config import Config
from tiny import plain, random_pair

ABSENT: Any = object()
VALUES: tuple[Any, ...] = (ABSENT, 0, None, "", [], 7, 0.5, True, [3], "never")
"""What is put at every key: 0, null, absent, "", [], and values of other kinds."""
EMPTY = Config({})


def form(values: dict[str, Any]) -> dict[str, Any]:
    """Return the normal form of a file."""
    return normal(resolved(values, EMPTY, None))


def test_zero_is_a_value_and_null_is_none() -> None:
    """Token 0 is a token; null is the end of a default; what does nothing is nothing."""
    for key in ("forced_bos_token_id", "forced_eos_token_id", "decoder_start_token_id"):
        assert form({key: 0}) != form({key: None}) == form({})
    assert form({"eos_token_id": 0}) != form({"eos_token_id": None})
    assert form({"max_length": None}) != form({})
    assert form({"top_k": None}) == form({"top_k": 0}) != form({})
    for off in ({"min_length": 0}, {"no_repeat_ngram_size": None}, {"repetition_penalty": None}):
        assert form(off) == form({})


def test_tokens_stand_in_for_each_other() -> None:
    """Padding is the first end where no token is named, and bos starts a decoder without a start of its own."""
    assert form({"eos_token_id": 2}) == form({"eos_token_id": [2], "pad_token_id": 2})
    assert form({"eos_token_id": [2, 5], "pad_token_id": 2}) == form({"eos_token_id": [2, 5]})
    assert form({"eos_token_id": [5, 2], "pad_token_id": 2}) == form({"eos_token_id": [2, 5]})
    assert form({"eos_token_id": [5, 2]}) != form({"eos_token_id": [2, 5]})
    assert form({"bos_token_id": 4}) == form({"decoder_start_token_id": 4})
    assert form({"bos_token_id": 4, "decoder_start_token_id": 3}) == form(
        {"decoder_start_token_id": 3}
    )


def test_without_a_file_the_config_counts() -> None:
    """The whole's keys where they are not null, and where they are unset the decoder's, with its class's defaults."""
    root = Config({"num_beams": 4, "max_length": 20, "eos_token_id": None})
    decoder = Config({"max_length": 9, "num_beams": 2}, defaults={"eos_token_id": 2})
    values = resolved(None, root, decoder)
    assert (values["num_beams"], values["max_length"], values["eos_token_id"]) == (4, 9, 2)
    file = {"num_beams": 3}
    assert resolved(file, root, decoder)["num_beams"] == 3
    assert resolved(file | {"_from_model_config": True}, root, decoder)["num_beams"] == 4
    plain_root = Config({"num_beams": None, "eos_token_id": 5})
    assert resolved(file | {"_from_model_config": True}, plain_root, decoder)["num_beams"] == 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a tiny pair in PyTorch."""
    folder = tmp_path_factory.mktemp("generation") / "pair"
    with patch.dict(os.environ, {"USE_TORCH": "1", "USE_TF": "0", "USE_FLAX": "0"}):
        random_pair(plain("bert"), plain("bert"), folder)
        yield import_module("transformers").EncoderDecoderModel.from_pretrained(folder)


def behaviour(model: Any, values: dict[str, Any], folder: Path) -> str:
    """Return all that the class makes of a file before the first step: what it reads afterwards, or its refusal."""
    (folder / "generation_config.json").write_text(json.dumps(values))
    transformers = import_module("transformers")
    try:
        settings = transformers.GenerationConfig.from_pretrained(folder)
        model.generation_config = settings
        settings, _ = model._prepare_generation_config(None)
        model._prepare_special_tokens(settings, True, device="cpu")
        names = {"inputs_tensor": None, "input_ids_length": 1, "model_input_name": "input_ids"}
        settings = model._prepare_generated_length(
            generation_config=settings,
            has_default_max_length=True,
            has_default_min_length=True,
            **names,
        )
        ids = import_module("torch").ones((1, 3), dtype=import_module("torch").long)
        processors = model._get_logits_processor(settings, 1, ids, device="cpu", model_kwargs={})
        criteria = model._get_stopping_criteria(settings, transformers.StoppingCriteriaList())
        # one method runs both, and samples where `do_sample` is no no
        mode = str(settings.get_generation_mode()).replace("SAMPLE", "GREEDY_SEARCH")
        lines = [mode, *_scores(processors)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    stops = [f"{type(stop).__name__} {sorted(vars(stop).items())}" for stop in criteria]
    return "\n".join([*lines, *stops, *_read_later(settings)])


def _scores(processors: Any) -> Iterator[str]:
    """Return what the processors make of the scores of steps 1 to 9."""
    torch = import_module("torch")
    generator = torch.Generator().manual_seed(0)
    for length in range(1, 10):
        scores = torch.randn((1, 53), generator=generator)
        ids = torch.randint(0, 53, (1, length), generator=generator)
        yield str(processors(ids, scores).tolist())


def _read_later(settings: Any) -> Iterator[str]:
    """Return what the search itself reads, as it reads it."""
    for key in ("_pad_token_tensor", "_eos_token_tensor", "_decoder_start_token_tensor"):
        yield f"{key} {getattr(settings, key, None)}"
    for key in ("num_beams", "length_penalty", "num_return_sequences", "max_length", "use_cache"):
        yield f"{key} {getattr(settings, key)}"
    for key in ("output_scores", "output_logits", "return_dict_in_generate", "token_healing"):
        yield f"{key} {bool(getattr(settings, key))}"
    early = settings.early_stopping
    yield f"early {early is True} {early == 'never'} sample {bool(settings.do_sample)}"


SAMPLING = {"do_sample": True}
BASES: tuple[dict[str, Any], ...] = (
    {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **SAMPLING},
    {"decoder_start_token_id": 1, "eos_token_id": [2, 5]},
)


def check_grid(
    model: Any, folder: Path, keys: Sequence[str], bases: Sequence[Mapping[str, Any]]
) -> None:
    """Put every value at each key of a generation_config.json, and hold each two of those files together.

    One form: the class does the same with both, in all that happens before and at each step. One by definition, since
    the class reads the very same settings: one form.
    """
    for base in bases:
        for key in keys:
            files = [
                {name: each for name, each in {**base, key: value}.items() if each is not ABSENT}
                for value in VALUES
            ]
            tried = [
                (form(file), behaviour(model, file, folder), read(file, folder)) for file in files
            ]
            for (first, left, seen), (second, right, also) in combinations(tried, 2):
                assert first != second or left == right, (key, left, right)
                assert first == second or seen is None or seen != also, (key, first, second)


def read(values: dict[str, Any], folder: Path) -> dict[str, str] | None:
    """Return all settings as the class holds them; None where it refuses them."""
    (folder / "generation_config.json").write_text(json.dumps(values))
    try:
        settings = import_module("transformers").GenerationConfig.from_pretrained(folder)
    except Exception:  # whatever its validation raises, the file is no model's
        return None
    return {key: repr(value) for key, value in vars(settings).items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.frameworks
def test_alike_is_what_the_real_class_treats_alike(model: Any, tmp_path: Path) -> None:
    """0, null, absent, "", [] and foreign values at a third of the keys: one form exactly where the class sees one."""
    check_grid(model, tmp_path, sorted(generate_defaults())[::3], BASES[:1])


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.frameworks
def test_alike_at_every_key(model: Any, tmp_path: Path) -> None:
    """The same at every key of `GenerationConfig`, with greedy search, with sampling and with two ends."""
    check_grid(model, tmp_path, sorted(generate_defaults()), BASES)


def check_config_grid(model: Any, folder: Path, keys: Sequence[str]) -> None:
    """Put every value at each key of a config, of the whole or of the decoder, where no file has the settings.

    One form of two such configs: the class does the same with both.
    """
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for place in ("", "decoder"):
        for key in keys:
            tried = []
            for value in VALUES:
                both = {**config, "decoder": dict(config["decoder"])}
                part = both[place] if place else both
                part.pop(key, None)
                part |= {} if value is ABSENT else {key: value}
                parts = (_with_defaults(part) for part in (both, both["decoder"]))
                tried.append((normal(resolved(None, *parts)), configured(model, both, folder)))
            for (first, left), (second, right) in combinations(tried, 2):
                assert first != second or left == right, (place, key, left, right)


def configured(model: Any, config: dict[str, Any], folder: Path) -> str:
    """Return all that the class makes of a config by itself, as `behaviour` does of a file."""
    transformers = import_module("transformers")
    (folder / "config.json").write_text(json.dumps(config))
    try:
        real = transformers.EncoderDecoderConfig.from_pretrained(folder)
        settings = transformers.GenerationConfig.from_model_config(real).to_dict()
    except Exception as error:  # whatever its validation raises
        return f"{type(error).__name__}: {error}"
    return behaviour(model, {**settings, "_from_model_config": False}, folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.frameworks
def test_configs_alike(model: Any, tmp_path: Path) -> None:
    """The same values in config.json, of the whole and of the decoder, at every tenth key."""
    check_config_grid(model, tmp_path, sorted(generate_defaults())[::10])


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.frameworks
def test_configs_alike_at_every_key(model: Any, tmp_path: Path) -> None:
    """The same at every key."""
    check_config_grid(model, tmp_path, sorted(generate_defaults()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.frameworks
def test_the_class_resolves_files_and_configs_as_we_do(model: Any, tmp_path: Path) -> None:
    """Settings in the file, in the whole's config, in the decoder's, with and without the mark of a made file."""
    transformers = import_module("transformers")
    model.config.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for file in (None, {"num_beams": 3}, {"num_beams": 3, "_from_model_config": True}):
        for root in ({}, {"num_beams": 4}, {"max_length": 7, "num_beams": 1}, {"max_length": None}):
            for decoder in ({}, {"num_beams": 2, "eos_token_id": 0}, {"min_length": 5}):
                both = {**config, **root, "decoder": {**config["decoder"], **decoder}}
                (tmp_path / "config.json").write_text(json.dumps(both))
                real = transformers.EncoderDecoderConfig.from_pretrained(tmp_path)
                model.config = real
                if file is None:
                    model.generation_config = transformers.GenerationConfig.from_model_config(real)
                else:
                    (tmp_path / "generation_config.json").write_text(json.dumps(file))
                    model.generation_config = transformers.GenerationConfig.from_pretrained(
                        tmp_path
                    )
                settings, _ = model._prepare_generation_config(None)
                result = resolved(file, *(_with_defaults(part) for part in (both, both["decoder"])))
                for key, value in result.items():
                    assert getattr(settings, key) == value, (key, file, root, decoder)


def _with_defaults(values: dict[str, Any]) -> Config:
    from ckptconv.compare.configs import with_defaults

    return with_defaults(Config(values))
