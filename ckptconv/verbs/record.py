"""`verify --save-trace`: a source's inputs and answers in a file, so that a target can be checked without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptconv.base.errors import PlanError, Problem, UsageError
from ckptconv.base.results import Result
from ckptconv.base.workers import counted
from ckptconv.compare.processors import require_processor
from ckptconv.run.fingerprints import STORED, Fingerprint, fingerprints
from ckptconv.run.forward import Options, Runnable
from ckptconv.run.inputs import Inputs, read_inputs
from ckptconv.run.recording import record_answers, recorded_model
from ckptconv.run.trace import Trace, read_trace, write_trace
from ckptconv.schema.model import Model, read_model, without_fixes
from ckptconv.stores.checkpoint import Checkpoint, open_preferring_pytorch
from ckptconv.stores.hub import resolve
from ckptconv.transfer.publish.stage import require_apart_from_inputs, require_place
from ckptconv.verbs.outputs import (
    converted_tensors,
    reference_of,
    require_loadable,
    require_no_artefact,
    require_run_arguments,
)
from ckptconv.verbs.planning import Positions, unrecorded_fixes


@dataclass(frozen=True, slots=True, repr=False)
class Recording(Result):
    """What was written."""

    source: Path
    path: Path
    """The trace."""
    pair: str
    nbytes: int
    """Its size."""
    tensors: int
    """Tensors whose digests it holds."""
    answers: int
    """Arrays that it holds of the source's answers."""


@dataclass(frozen=True, slots=True)
class DigestsCompared:
    """What holding a target's tensors against recorded digests showed."""

    tensors: int
    nbytes: int
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]


def record(
    source: Path | str,
    path: Path,
    *,
    seed: int = 0,
    texts: Sequence[str] = (),
    inputs: Path | None = None,
    timeout: float | None = None,
    positions: Positions | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recording:
    """Run a source on probes made from its config, and write what it answered to a file.

    Args: path: the file; what has its name is replaced. texts, inputs, seed, timeout, positions: as for `verify`.
    progress: called with bytes digested and bytes to digest; then the model runs.
    Raises: SourceError: no checkpoint. DestinationError: the file cannot be written.
    FrameworkError: PyTorch, or the source's framework, is missing or died.
    """
    require_run_arguments(seed, texts, timeout, positions)
    require_place(path)
    checkpoint_path = resolve(source)
    require_apart_from_inputs(
        {"trace": path}, checkpoints=[checkpoint_path], files=[inputs] if inputs else []
    )
    checkpoint = open_preferring_pytorch(checkpoint_path)
    require_no_artefact(checkpoint)
    model = read_model(without_fixes(checkpoint.config))
    require_loadable(checkpoint, model)
    require_processor(model, checkpoint.path)
    own = read_inputs(inputs, model) if inputs else Inputs()
    if (texts or own.examples) and model.reads != "tokens":
        raise UsageError(
            f"{inputs or texts[0]}: a trace cannot hold images or sounds by name; give their arrays, as .npz or"
            " .safetensors"
        )
    total = sum(stored.spec.nbytes for stored in checkpoint.weights.tensors.values())
    fixes = unrecorded_fixes(model, checkpoint, positions)
    weights = fingerprints(checkpoint, model, STORED, counted(progress, total), fixes=fixes)
    options = Options(seed, texts, own, None, timeout)
    with reference_of(checkpoint, (checkpoint.weights.naming,), positions) as reference:
        trace = record_answers(
            model,
            Runnable(checkpoint.weights.naming, checkpoint.path),
            checkpoint.config,
            weights,
            reference=reference,
            options=options,
        )
    nbytes = write_trace(path, trace)
    answers = sum(len(answer.arrays) for answer in trace.sides.values())
    return Recording(checkpoint.path, path, model.label, nbytes, len(weights), answers)


def open_trace(path: Path) -> tuple[Trace, Model]:
    """Return a trace and the model that it is of. Raises SourceError: it is malformed."""
    trace = read_trace(path)
    return trace, recorded_model(trace, str(path))


def compare_digests(
    trace: Trace,
    model: Model,
    target: Checkpoint,
    progress: Callable[[int, int], None] = lambda done, total: None,
    positions: Positions | None = None,
) -> DigestsCompared:
    """Hold every tensor of a target, put back into PyTorch's spelling, against the digest that was recorded.

    Raises: SourceError: the target cannot be read.
    """
    total = sum(stored.spec.nbytes for stored in target.weights.tensors.values())
    fixes = unrecorded_fixes(model, target, positions)
    absent = converted_tensors(target)
    try:
        actual = fingerprints(
            target, model, (), counted(progress, total), fixes=fixes, absent=absent
        )
    except PlanError as error:
        return DigestsCompared(0, 0, error.problems, ())
    schema = {tensor.key: tensor for tensor in model.tensors}
    naming = target.weights.naming
    recorded_only = [name for name in trace.weights if name not in actual]
    problems = [
        Problem("missing", name, f"recorded as {list(trace.weights[name].shape)}")
        for name in recorded_only
        if name not in schema or schema[name].names_in(naming)
    ]
    both = [(trace.weights.get(name), fingerprint) for name, fingerprint in actual.items()]
    problems += [
        problem for recorded, fingerprint in both if (problem := _problem(recorded, fingerprint))
    ]
    casts = sorted(
        {
            (recorded.dtype, fingerprint.dtype)
            for recorded, fingerprint in both
            if recorded and recorded.dtype != fingerprint.dtype
        }
    )
    notices = (
        f"stored as {stored} where the source has {source_dtype}: compared with the cast of the source"
        for source_dtype, stored in casts
    )
    nbytes = sum(fingerprint.spec.nbytes for fingerprint in actual.values())
    return DigestsCompared(len(actual), nbytes, tuple(sorted(problems)), tuple(notices))


def _problem(recorded: Fingerprint | None, actual: Fingerprint) -> Problem | None:
    name = actual.origin or actual.name
    if recorded is None:
        return Problem("unexpected", name, f"{actual.dtype} {list(actual.shape)}, not in the trace")
    if recorded.shape != actual.shape:
        return Problem(
            "shape", name, f"recorded as {list(recorded.shape)}, found {list(actual.shape)}"
        )
    expected = recorded.sha256.get(actual.dtype)
    if expected is None:
        return Problem("dtype", name, f"stored as {actual.dtype}, of which the trace has no sha256")
    return (
        None
        if expected == actual.sha256[actual.dtype]
        else Problem("not equal", name, "another sha256")
    )
