"""The child process: `python -m ckptconv.frameworks NAME JOBDIR...` reads jobs, and leaves the answers there.

    job.json      checkpoint, precisions, generate (settings or null), texts
    probes.npz    PROBE.INPUT -> integers of shape (batch, length)
    answers.npz   PRECISION/PROBE/QUANTITY -> floats; `tokens` -> (rows, new tokens), -1 after the end
    answers.json  framework, versions, problems, settings, generation, texts; or `unavailable`, `failed`: why

Several jobs pay the framework's start-up once; one that fails is said in its own folder, and the next begins.
Exit code 0: answered. 3: the framework cannot be imported. Anything else: it failed, and said why.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.config import Json, read_json
from ckptconv.frameworks import Array, Framework, Loaded, frameworks

UNAVAILABLE = 3


def _die_with_the_parent() -> None:
    """End this process when the parent's end of stdin closes, however the parent came to its end."""

    def watch() -> None:
        os.read(0, 1)  # not sys.stdin: its lock would be held when this interpreter ends
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


def after_start(sequences: Array, eos: int, length: int) -> Array:
    """Return the tokens after the start token, shape (rows, length), -1 after the first `eos`.

    Frameworks differ in what follows the end: PyTorch and TF stop when all rows have ended, Flax pads
    on to the full length.
    """
    tokens = np.full((len(sequences), length), -1, np.int64)
    for row, sequence in zip(tokens, sequences[:, 1 : length + 1], strict=True):
        ends = np.flatnonzero(sequence == eos)
        stop = int(ends[0]) + 1 if len(ends) else len(sequence)
        row[:stop] = sequence[:stop]
    return tokens


def _texts(framework: Framework, model: Any, job: Mapping[str, Any]) -> list[str]:
    """Generate for texts with the checkpoint's own tokenizer and generation config."""
    if not job["texts"]:
        return []
    tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(job["checkpoint"], local_files_only=True)
    encoded = tokenizer(job["texts"], return_tensors="np", padding=True)
    tokens = framework.generate(model, encoded["input_ids"], encoded["attention_mask"], None)
    answers: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return answers


def answer(framework: Framework, job: Mapping[str, Any], probes: Mapping[str, Mapping[str, Array]]) -> Any:
    """Return the arrays and the report that one job asks for."""
    loaded: Loaded = framework.load(Path(job["checkpoint"]))
    own: Mapping[str, Json] = loaded.model.generation_config.to_diff_dict()
    texts = _texts(framework, loaded.model, job)
    arrays: dict[str, Array] = {}
    for precision in job["precisions"]:
        for probe, batch in probes.items():
            for name, array in framework.forward(loaded.model, batch, precision).items():
                arrays[f"{precision}/{probe}/{name}"] = array
    settings = job["generate"]
    if settings is not None:
        batch = list(probes.values())[-1]
        tokens = framework.generate(loaded.model, batch["input_ids"], batch["attention_mask"], settings)
        arrays["tokens"] = after_start(tokens, settings["eos_token_id"], settings["max_new_tokens"])
    report = {"problems": loaded.problems, "settings": loaded.settings, "generation": own, "texts": texts}
    return arrays, report


def main(name: str, *folders: str) -> int:
    """Answer the jobs in `folders`; return the exit code."""
    _die_with_the_parent()
    jobs, framework = [Path(folder) for folder in folders], frameworks()[name]
    try:
        for module in framework.imports:
            import_module(module)
        getattr(import_module("transformers"), framework.model_class)  # gone from v5
    except (ImportError, AttributeError) as error:
        (jobs[0] / "answers.json").write_text(json.dumps({"framework": name, "unavailable": str(error)}))
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
        "loaded": sorted(module for module in ("torch", "tensorflow", "jax") if module in sys.modules),
    }
    (job / "answers.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
