"""The child that runs an artefact with its runtime alone: `lowered_runs.py FORMAT ARTEFACT JOB.json IN.npz OUT.npz`.

JOB is a list of what to do, `{"do": ..., "case": ..., "settings": ...}`; IN holds CASE.INPUT. OUT holds NUMBER.NAME, or
NUMBER.error: what the runtime said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = {"savedmodel": "savedmodel", "jax": "jax_artefact", "litert": "litert"}
FORBIDDEN = {
    "savedmodel": ("torch", "transformers", "jax"),
    "jax": ("torch", "transformers", "tensorflow"),
    "litert": ("torch", "transformers", "tensorflow", "jax"),
}


def answers(
    form: str,
    artefact: Path,
    folder: Path,
    jobs: Sequence[Mapping[str, Any]],
    cases: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Run jobs in one child; return what each answered."""
    paths = [folder / name for name in ("job.json", "in.npz", "out.npz")]
    paths[0].write_text(json.dumps(list(jobs)))
    arrays = {
        f"{case}.{name}": array for case, batch in cases.items() for name, array in batch.items()
    }
    np.savez(paths[1], **arrays)
    command = [sys.executable, "-P", __file__, form, artefact, *paths]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    process = subprocess.run(
        list(map(str, command)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    results: list[dict[str, Any]] = [{} for _ in jobs]
    with np.load(paths[2]) as out:
        for key in out.files:
            number, _, name = key.partition(".")
            results[int(number)][name] = out[key]
    return results


def _beams(form: str, session: Any, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Search beams with settings of one call, as a user of the format would."""
    if form == "savedmodel":
        result = session.run("generate_beam_with_settings", {**inputs, **settings})
        return {name: value.numpy() for name, value in result.items()}
    if form == "jax":
        buckets = import_module("ckptconv.run.loaders.jax_buckets")
        model = import_module("ckptconv.run.loaders.jax_loader").Model(session.path)
        return buckets.generate(model, "generate_beam", **inputs, **settings)
    usual = session.model.search
    named = {"beams" if name == "num_beams" else name: value for name, value in settings.items()}
    session.model.search = usual | named
    try:
        return {"sequences": session.model.generate(**inputs)}
    finally:
        session.model.search = usual


def _done(form: str, session: Any, job: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
    if job["do"] == "forward":
        return session.forward(batch)
    inputs = {name: batch[name] for name in session.takes}
    if job["do"] == "beams":
        return _beams(form, session, inputs, job["settings"])
    if job["do"] == "serving":
        return _served(session.path, inputs, job["settings"])
    if job["do"] == "variables":
        weights = import_module("tensorflow").saved_model.load(str(session.path)).weights
        return {name: variable.numpy() for name, variable in weights.items()}
    return {"sequences": session.generate(inputs, None)}


def _served(path: Path, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run every signature by the loader of C++.

    Returns: the answer of the default one, and `apart/NAME`, how far each signature's is from Python's.
    A signature's inputs are the encoder's, the settings, a start token, and what `encode` answers.
    """
    tf = import_module("tensorflow")
    loaded, model = import_module("c_loader").Loaded(path), tf.saved_model.load(str(path))
    encoded = loaded.run("encode", inputs)
    rows, cache = len(inputs["input_ids"]), {}
    for name, info in loaded.signatures["step"].inputs.items():
        if "_self_" in name:
            _, heads, _, width = (axis.size for axis in info.tensor_shape.dim)
            cache[name] = np.zeros((rows, heads, 2, width), np.float32)
    start = {"decoder_input_ids": np.ones((rows, 1), np.int64), "position": np.array(0, np.int64)}
    usual_types = {int: np.int64, float: np.float32}
    scalars = {name: np.array(value, usual_types[type(value)]) for name, value in settings.items()}
    values = {**inputs, **encoded, **cache, **start, **scalars}
    apart = {}
    for name, signature in loaded.signatures.items():
        feed = {key: values[key] for key in signature.inputs}
        answer = loaded.run(name, feed)
        usual = model.signatures[name](**{key: tf.constant(value) for key, value in feed.items()})
        assert answer.keys() == usual.keys(), name
        apart[f"apart/{name}"] = max(
            np.abs(answer[key].astype(float) - usual[key].numpy()).max() for key in usual
        )
    return {**loaded.run("serving_default", inputs), **apart}


def _main(form: str, artefact: str, job: str, source: str, target: str) -> None:
    for name in FORBIDDEN[form]:
        sys.modules[name] = None  # type: ignore[assignment]
    runner = import_module(f"ckptconv.run.runners.{RUNNERS[form]}").RUNNER
    session = runner.load(Path(artefact), "float32", "")
    session.path = Path(artefact)
    with np.load(source) as arrays:
        cases: dict[str, dict[str, Any]] = {}
        for key in arrays.files:
            case, _, name = key.partition(".")
            cases.setdefault(case, {})[name] = arrays[key]
    results: dict[str, Any] = {}
    for number, entry in enumerate(json.loads(Path(job).read_text())):
        try:
            answer = _done(form, session, entry, cases[entry["case"]])
        except Exception as error:
            answer = {"error": np.array(f"{type(error).__name__}: {error}")}
        results |= {f"{number}.{name}": np.asarray(value) for name, value in answer.items()}
    np.savez(target, **results)


if __name__ == "__main__":
    _main(*sys.argv[1:])
