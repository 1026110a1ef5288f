"""One export, in the child: load the class, trace it, trace its search, and let a format write them. Imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationMixin
from transformers.utils import logging

from ckptconv.artefacts.formats import ARTEFACT_FORMATS, Work
from ckptconv.artefacts.generation.generate import trace_generate
from ckptconv.artefacts.generation.settings import Search, SettingsError, search_of
from ckptconv.artefacts.program import Traced
from ckptconv.artefacts.tracing.examples import examples_of
from ckptconv.artefacts.tracing.trace import TraceError, trace
from ckptconv.base.errors import SourceError
from ckptconv.base.presence import lies_at
from ckptconv.base.strict_json import Json, in_words

TOKENIZER = "tokenizer.json"
VOCABULARIES = (
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
TRIED = 3
"""New tokens of a trial of PyTorch's own `generate`."""
SHOWN = 5
"""Of the tensors that a class misses or has no place for."""


class ExportRefused(Exception):
    """This model cannot be exported; the message says why."""


def exported(job: Mapping[str, Any]) -> dict[str, Json]:
    """Write the programs of a job; return the record of the artefact.

    Raises: ExportRefused: PyTorch cannot run it, a setting has no processor, or the class cannot be traced.
    """
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    folder = Path(job["checkpoint"])
    model = _loaded(folder, job["model_class"])
    examples = _examples(model)
    search = _search(model, job)
    _require_runs(model, examples, job)
    try:
        traced = trace(model, search.start, examples)
    except TraceError as error:
        raise ExportRefused(
            f"{_families(model)}: {error}\n"
            "Serve it with PyTorch; `ckptconv families` lists what can be exported."
        ) from error
    _require_places(search, traced, job["max_length"])
    _require_words(search, traced)
    notices = list(_notices(model))
    form = ARTEFACT_FORMATS[job["format"]]
    own = None if notices else search
    _write_tokenizer(folder)
    try:
        generate = trace_generate(traced, own) if own and not form.traces_search else None
        written = dict(form.write(Work(traced, own, generate, folder, job["options"])))
    except SourceError as error:
        raise ExportRefused(
            f"{_families(model)}: no {form.name} can be written of it\n{error}"
        ) from error
    remarks = written.pop("notices", [])
    assert isinstance(remarks, list)
    return {"record": _record(job, traced, own, written), "notices": [*notices, *remarks]}


def _loaded(folder: Path, model_class: str) -> Any:
    """Load the class in float32. Raises ExportRefused: it cannot, or finds tensors missing or left over."""
    kind = getattr(import_module("transformers"), model_class, None)
    if kind is None:
        raise ExportRefused(f"transformers has no class {model_class}")
    try:
        model, info = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:
        raise ExportRefused(f"{model_class} cannot load it\n{_line(error)}") from error
    wrong = [
        f"{kind} {name}"
        for kind in ("missing", "mismatched")
        for name in sorted(map(str, info[f"{kind}_keys"]))
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ExportRefused(
            f"{model_class} does not find its weights: {', '.join(wrong[:SHOWN])}{more}"
        )
    return model.eval()


def _examples(model: Any) -> Mapping[str, torch.Tensor]:
    """Return inputs to trace a class with. Raises ExportRefused: its config names no size of what it reads."""
    try:
        return examples_of(model)
    except AttributeError as error:
        raise ExportRefused(
            f"{_families(model)}: no inputs can be made for this class\n{_line(error)}"
        ) from error


def _write_tokenizer(folder: Path) -> None:
    """Write a tokenizer in the one form that runs without transformers, where only its vocabulary files are there."""
    if lies_at(folder / TOKENIZER) or not any(lies_at(folder / name) for name in VOCABULARIES):
        return
    with suppress(Exception):  # it is a convenience: the vocabulary travels in any case
        tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True
        )
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))


def _search(model: Any, job: Mapping[str, Any]) -> Search:
    """Return the search of the class's own settings. Raises ExportRefused: it has none."""
    settings, _ = model._prepare_generation_config(None)
    values = settings.to_dict()
    if job["beams"] is not None:
        values["num_beams"] = job["beams"]
    try:
        search = search_of(values, getattr(model.config, "max_position_embeddings", None))
    except SettingsError as error:
        problems = "\n".join(f"  {line}" for line in str(error).splitlines())
        raise ExportRefused(
            f"generation_config.json asks for what no exported search has:\n{problems}"
        ) from error
    except (LookupError, TypeError, ValueError) as error:  # a word where a number should be
        raise ExportRefused(f"generation_config.json is malformed\n{_line(error)}") from error
    return search if job["max_length"] is None else replace(search, max_length=job["max_length"])


def _require_runs(model: Any, examples: Mapping[str, torch.Tensor], job: Mapping[str, Any]) -> None:
    """Refuse a model with which PyTorch's own `generate` fails, by its own settings; it is stopped after a few tokens.

    The class checks what a search here takes as it stands: lengths, penalties, tokens beyond the vocabulary.
    """
    settings: dict[str, Any] = {"max_new_tokens": TRIED, "num_beams": 1, "do_sample": False}
    if not _generates_itself(model):
        settings = {"stopping_criteria": [_is_enough]}
        if job["max_length"] is not None:
            settings |= {"max_length": job["max_length"], "max_new_tokens": None}
        if job["beams"] is not None:
            settings["num_beams"] = job["beams"]
    try:
        with torch.inference_mode():
            model.generate(**examples, **settings)
    except Exception as error:
        raise ExportRefused(
            f"{_families(model)}: PyTorch's own generate fails with this model\n{_line(error)}"
        ) from error


def _is_enough(tokens: torch.Tensor, scores: Any, **_settings: Any) -> torch.Tensor:
    """Return, for each row, whether a trial has its tokens."""
    return torch.full((tokens.shape[0],), tokens.shape[1] > TRIED)


def _generates_itself(model: Any) -> bool:
    """Tell whether a class has a `generate` of its own."""
    return type(model).generate is not GenerationMixin.generate


def _require_places(search: Search, traced: Traced, asked: int | None) -> None:
    """Refuse answers that are longer than the class can make. Raises ExportRefused."""
    limit = traced.limits.decoder
    if limit is None or search.max_length <= limit + 1:  # the last token is not fed
        return
    where = "--max-length" if asked is not None else "generation_config.json: max_length"
    raise ExportRefused(
        f"{where} {search.max_length}: the decoder has {limit} positions, which is enough for"
        f" {limit + 1} tokens\nGive --max-length {limit + 1} or less."
    )


def _require_words(search: Search, traced: Traced) -> None:
    """Refuse forced tokens that the decoder does not have: PyTorch's search fails when it comes to them."""
    outputs = traced.step.exported.graph.output_node().args[0]
    words = int(outputs[0].meta["val"].shape[-1])
    forced = {"forced_bos_token_id": search.forced_bos, "forced_eos_token_id": search.forced_eos}
    for name, value in forced.items():
        tokens = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(0 <= token < words for token in tokens):
            raise ExportRefused(
                f"generation_config.json: {name} {in_words(value)}: the decoder has the tokens 0 to {words - 1}"
            )


def _notices(model: Any) -> Iterator[str]:
    """Say why there is no `generate`, where there is none."""
    if _generates_itself(model):
        yield (
            f"{type(model).__name__} generates with code of its own, which is not exported:"
            " the artefact has encode and step"
        )


def _families(model: Any) -> str:
    """Name the model types, as a user knows them."""
    sides = (
        getattr(getattr(model.config, side, None), "model_type", "")
        for side in ("encoder", "decoder")
    )
    return " -> ".join(filter(None, sides)) or str(model.config.model_type)


def _record(
    job: Mapping[str, Any], traced: Traced, search: Search | None, written: Mapping[str, Json]
) -> dict[str, Json]:
    """Return what the artefact says of itself."""
    return {
        "format": job["format"],
        "class": job["model_class"],
        "limits": {"encoder": traced.limits.encoder, "decoder": traced.limits.decoder},
        "encoder_pad": _pad(traced.model),
        "search": asdict(search) if search else {},
        "versions": {name: _version(name) for name in ARTEFACT_FORMATS[job["format"]].modules},
        **written,
    }


def _version(module: str) -> str:
    """Return the version of a library; most say it themselves."""
    return str(getattr(import_module(module), "__version__", "") or metadata.version(module))


def _pad(model: Any) -> int | None:
    """Return the encoder's padding token; some families count positions by it."""
    config = getattr(model.config, "encoder", None) or model.config
    pad = getattr(config, "pad_token_id", None)
    return pad if isinstance(pad, int) else None


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
