"""The child that runs an artefact with its runtime alone: `lowered_runs.py FORMAT ARTEFACT JOB.json IN.npz OUT.npz`.

JOB is a list of what to do, `{"do": ..., "case": ..., "settings": ...}`; IN holds CASE.INPUT. OUT holds NUMBER.NAME, or
NUMBER.error: what the runtime said.
"""

from __future__ import annotations

import json
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
        "PYTHONPATH": str(ROOT),
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
        return _served(session.path, inputs)
    if job["do"] == "variables":
        weights = import_module("tensorflow").saved_model.load(str(session.path)).weights
        return {name: variable.numpy() for name, variable in weights.items()}
    return {"sequences": session.generate(inputs, None)}


def _served(path: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run the default signature as TensorFlow Serving does: a session, the tag `serve`, the restore operation."""
    tf = import_module("tensorflow").compat.v1
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.load(session, ["serve"], str(path))
        signature = loaded.signature_def["serving_default"]
        feed = {signature.inputs[name].name: array for name, array in inputs.items()}
        outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        return dict(session.run(outputs, feed))


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
