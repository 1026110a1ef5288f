"""The child process: `python -m ckptconv.run.runners NAME JOBDIR...` reads jobs, and leaves the answers there.

    ROOT/0/1/...  the folder of the run, of this child, of its job; the run removes ROOT, or the child if it cannot

    job.json      checkpoint, precisions, generate (name -> settings), generate_from (a probe), texts, coverage
    probes.npz    PROBE.INPUT -> integers of shape (batch, length)
    answers.npz   see `ckptconv.run.answers.Answer`
    answers.json  framework, versions, problems, settings, generation, texts, reached; or `unavailable`, `failed`: why

Several jobs pay the framework's start-up once; one that fails is said in its own folder, and the next begins.
Exit code 0: answered. 3: the framework cannot be imported. Anything else: it failed, and said why.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Collection, Mapping
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.strict_json import Json, read_json
from ckptconv.run.runners import Array, Framework, Loaded, frameworks
from ckptconv.run.runners._listening import listener
from ckptconv.run.runners._tokenizing import tokenized

UNAVAILABLE = 3
RUN_PREFIX = "ckptconv-"
"""How the name of a run's folder begins; nothing else is ever removed."""


def _die_with_the_parent(folder: Path) -> None:
    """End this process when the parent's end of stdin closes, however the parent came to its end.

    A parent that was killed could not remove its folder; the child does.
    """

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held when this interpreter ends
        if folder.name.startswith(RUN_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _version(distribution: str) -> str:
    """Return an installed version; `tensorflow` may have come as another distribution, such as tensorflow-cpu."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(distribution), "__version__", "unknown"))


def _probes(job: Path) -> dict[str, dict[str, Array]]:
    """Return probe name -> input name -> integers."""
    found: dict[str, dict[str, Array]] = {}
    with np.load(job / "probes.npz", allow_pickle=False) as arrays:
        for key in arrays.files:
            probe, _, name = key.partition(".")
            found.setdefault(probe, {})[name] = arrays[key]
    return found


def after_start(sequences: Array, ends: Collection[int], length: int) -> Array:
    """Return the tokens after the start token, shape (rows, length), -1 after the first of `ends`.

    Frameworks differ in what follows the end: PyTorch and TF stop when all rows have ended, Flax pads
    on to the full length.
    """
    tokens = np.full((len(sequences), length), -1, np.int64)
    for row, sequence in zip(tokens, sequences[:, 1 : length + 1], strict=True):
        found = np.flatnonzero(np.isin(sequence, list(ends)))
        stop = int(found[0]) + 1 if len(found) else len(sequence)
        row[:stop] = sequence[:stop]
    return tokens


def _texts(framework: Framework, model: Any, job: Mapping[str, Any], tokenizer: Any) -> list[str]:
    """Generate for texts with the checkpoint's own tokenizer and generation config."""
    encoded = tokenizer(job["texts"], return_tensors="np", padding=True)
    tokens = framework.generate(model, encoded["input_ids"], encoded["attention_mask"], None)
    answers: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return answers


def answer(
    framework: Framework, job: Mapping[str, Any], probes: Mapping[str, Mapping[str, Array]]
) -> Any:
    """Return the arrays and the report that one job asks for; a model a precision, one after the other."""
    made = _tokenized(job)
    arrays = {
        f"inputs/{probe}.{name}": array
        for probe, batch in made.items()
        for name, array in batch.items()
    }
    probes = {**probes, **made}
    report: dict[str, Any] = {}
    for precision in job["precisions"]:
        loaded: Loaded = framework.load(Path(job["checkpoint"]), precision)
        if precision == "float32":
            report = _report(framework, loaded, job)
        reach = (
            framework.reach(loaded.model) if framework.reach and _measures(job, precision) else None
        )
        forward = reach.forward if reach else partial(framework.forward, loaded.model)
        for probe, batch in probes.items():
            for name, array in forward(batch).items():
                arrays[f"{precision}/{probe}/{name}"] = array
        batch = probes.get(str(job["generate_from"]), {})
        for name, settings in job["generate"].items():
            generated = _generate if precision == "float32" else _judge
            arrays |= generated(framework, loaded.model, batch, name, settings, arrays)
        report |= {"reached": reach.reached()} if reach else {}
        del loaded, reach, forward  # before the next is loaded
    return arrays, report


def _measures(job: Mapping[str, Any], precision: str) -> bool:
    """Tell whether to note what the probes reach: in float64, where no gradient is too small."""
    return bool(job.get("coverage")) and precision == "float64"


def _tokenized(job: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """Return the probes that the job's sentences make."""
    return tokenized(_tokenizer(job), job["sentences"], job["feeding"]) if job["sentences"] else {}


def _tokenizer(job: Mapping[str, Any]) -> Any:
    return import_module("transformers").AutoTokenizer.from_pretrained(
        job["checkpoint"], local_files_only=True
    )


def _report(framework: Framework, loaded: Loaded, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be known of a model, and its answers to texts."""
    own: Mapping[str, Json] = loaded.model.generation_config.to_diff_dict()
    texts = _texts(framework, loaded.model, job, _tokenizer(job)) if job["texts"] else []
    return {
        "problems": loaded.problems,
        "settings": loaded.settings,
        "generation": own,
        "texts": texts,
    }


def _generate(
    framework: Framework,
    model: Any,
    batch: Mapping[str, Array],
    name: str,
    settings: dict[str, Any],
    _arrays: Mapping[str, Array],
) -> dict[str, Array]:
    """Generate in float32: the tokens, and of a greedy search the logits of its cached steps.

    A row counts up to its end, or up to the padding token: after that one, a RoBERTa's cached steps have other
    positions than its full pass, in PyTorch itself.
    """
    sequences, heard = _search(framework, model, batch, settings)
    tokens = after_start(
        sequences, (settings["eos_token_id"], settings["pad_token_id"]), settings["max_new_tokens"]
    )
    if settings["num_beams"] > 1:
        return {f"{name}/tokens": tokens[:1]}
    return {f"{name}/tokens": tokens, f"float32/{name}/cached": heard.stacked()}


def _search(
    framework: Framework, model: Any, batch: Mapping[str, Array], settings: dict[str, Any]
) -> tuple[Array, Any]:
    """Generate by these settings, in the place of the checkpoint's own; return the tokens and what was heard."""
    model.generation_config = import_module("transformers").GenerationConfig(**settings)
    heard = listener(settings)
    return framework.generate(model, *_generated_from(batch, settings), heard), heard


def _generated_from(batch: Mapping[str, Array], settings: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return tokens and mask; for a beam search the first row, as often as there are rows.

    When a batch's search ends is decided row by row in PyTorch, and for all rows at once in TF and Flax, which
    may change an answer; rows that are equal end together. Flax has compiled that many rows already.
    """
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    if settings["num_beams"] > 1:
        tokens, mask = (np.repeat(array[:1], len(array), axis=0) for array in (tokens, mask))
    return tokens, mask


def _judge(
    framework: Framework,
    model: Any,
    batch: Mapping[str, Array],
    name: str,
    settings: dict[str, Any],
    arrays: Mapping[str, Array],
) -> dict[str, Array]:
    """Say in float64 what the steps should have been: logits of a full pass without a cache, or a search's margins."""
    if settings["num_beams"] > 1:
        _, heard = _search(framework, model, batch, settings)
        return {f"{name}/margins": heard.stacked()[:1]}
    tokens = arrays[f"{name}/tokens"][:, : arrays[f"float32/{name}/cached"].shape[1]]
    fed = np.where(tokens < 0, settings["pad_token_id"], tokens)[:, :-1]
    start = np.full((len(tokens), 1), settings["decoder_start_token_id"], np.int64)
    whole = {"decoder_input_ids": np.concatenate([start, fed], axis=1)}
    whole["decoder_attention_mask"] = np.ones_like(whole["decoder_input_ids"])
    inputs = {one: batch[one] for one in ("input_ids", "attention_mask")}
    return {f"float64/{name}/cached": framework.forward(model, inputs | whole)["logits"]}


def main(name: str, *folders: str) -> int:
    """Answer the jobs in `folders`; return the exit code."""
    jobs, framework = [Path(folder) for folder in folders], frameworks()[name]
    _die_with_the_parent(jobs[0].absolute().parents[1])
    sys.modules.update(dict.fromkeys(framework.hidden))  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        for module in framework.imports:
            import_module(module)
        getattr(import_module("transformers"), framework.model_class)  # gone from v5
    except (ImportError, AttributeError) as error:
        (jobs[0] / "answers.json").write_text(
            json.dumps({"framework": name, "unavailable": str(error)})
        )
        return UNAVAILABLE
    for job in jobs:
        try:
            _answer_in(job, name, framework)
        except Exception as error:
            if len(jobs) == 1:
                raise
            failed = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            (job / "answers.json").write_text(json.dumps({"framework": name, "failed": failed}))
    return 0


def _answer_in(job: Path, name: str, framework: Framework) -> None:
    """Answer one job in its folder."""
    arrays, report = answer(framework, read_json(job / "job.json"), _probes(job))
    np.savez(job / "answers.npz", allow_pickle=False, **arrays)
    report |= {
        "framework": name,
        "versions": {one: _version(one) for one in framework.versions},
        "loaded": sorted(
            module for module in ("torch", "tensorflow", "jax") if sys.modules.get(module)
        ),
    }
    (job / "answers.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(
        status
    )  # the answers are written; to take a framework down would cost another half second
