"""The outputs half of `verify`: both models run on the same inputs, whatever each of them is for.

Of an artefact, which `export` wrote, the weights are compared bit for bit, and every graph must point at them by their
names. Then it runs in a process that can import its runtime alone, on the same probes as a converted checkpoint, under
the same yardstick; and it generates by the checkpoint's own settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING

from ckptconv.base.errors import (
    MAX_SEED,
    Problem,
    SourceError,
    UsageError,
    require_integer,
    require_number,
    require_texts,
)
from ckptconv.base.files import why_no_file
from ckptconv.base.presence import is_file
from ckptconv.binding.bind import bind_whole
from ckptconv.schema.model import Model
from ckptconv.stores.artefact import Artefact, converted_notice, is_artefact, read_artefact
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.verbs.planning import Positions, require_positions

if TYPE_CHECKING:
    from ckptconv.artefacts.stored import StoredTensor
    from ckptconv.run.forward import ForwardReport, Options, Runnable
    from ckptconv.stores.parsers.onnx_graph import ExternalTensor

# What runs models takes longer to import than a small checkpoint to compare: it is imported where one is run.

ONNX = ".onnx"


def require_tokens(options: Options) -> None:
    """Refuse sentences: an artefact runs without the checkpoint's tokenizer class. Raises SourceError."""
    if options.texts or options.inputs.examples:
        raise SourceError(
            "an artefact runs without transformers and its tokenizer: give token ids, as .npz or .safetensors,"
            " instead of sentences."
        )


def artefact_of(checkpoint: Checkpoint) -> Artefact | None:
    """Return the artefact that a checkpoint's directory is; None for any other. Raises SourceError: a bad record."""
    return read_artefact(checkpoint.path) if is_artefact(checkpoint.path) else None


def runnable_of(checkpoint: Checkpoint) -> Runnable:
    """Return what runs a checkpoint: the class of its naming, or an artefact's runtime.

    Raises: SourceError: an artefact of a format that is not known here, or with a damaged record.
    """
    from ckptconv.artefacts.formats import ARTEFACT_FORMATS
    from ckptconv.run.forward import Runnable

    artefact = artefact_of(checkpoint)
    if artefact is None:
        return Runnable(checkpoint.weights.naming, checkpoint.path)
    form = ARTEFACT_FORMATS.get(artefact.format)
    if form is None:
        raise SourceError(f"{artefact.path}: has an unknown format: {artefact.format!a}")
    return Runnable(form.runner, checkpoint.path)


def format_name(checkpoint: Checkpoint) -> str:
    """Return the format of a checkpoint's weights, or of the artefact that it is."""
    artefact = artefact_of(checkpoint)
    return artefact.format if artefact else checkpoint.weights.format.name


def require_no_artefact(checkpoint: Checkpoint) -> None:
    """Refuse an artefact in the place of a source: its programs would not be looked at. Raises SourceError."""
    artefact = artefact_of(checkpoint)
    if artefact is not None:
        raise SourceError(
            f"{checkpoint.path}: is an artefact ({artefact.format}), which can be verified but is no reference.\n"
            "Give the checkpoint first: ckptconv verify CHECKPOINT ARTEFACT"
        )


def converted_tensors(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return PyTorch's names of the tensors of which an artefact's converter made something else."""
    artefact = artefact_of(checkpoint)
    return artefact.converted if artefact else ()


def without_converted(
    problems: Sequence[Problem], checkpoint: Checkpoint
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Take out the missing tensors of which LiteRT's converter made something else; return the rest, and notices.

    Not of a file of 8-bit integers: its weights are other ones, and a mismatch says so.
    """
    converted = converted_tensors(checkpoint)
    lost = [
        problem for problem in problems if problem.kind == "missing" and problem.name in converted
    ]
    if not lost:
        return tuple(problems), ()
    notice = converted_notice([problem.name for problem in lost])
    return tuple(problem for problem in problems if problem not in lost), (notice,)


def pointers(checkpoint: Checkpoint) -> tuple[Problem, ...]:
    """Return the problems of an artefact's graphs; none for any other checkpoint."""
    artefact = artefact_of(checkpoint)
    return pointer_problems(artefact) if artefact else ()


def pointer_problems(artefact: Artefact) -> tuple[Problem, ...]:
    """Return where a graph points at something else than the tensor whose name it gives.

    Raises: SourceError: a graph or a file of weights is damaged.
    """
    from ckptconv.artefacts.stored import CONSTANTS, WEIGHTS
    from ckptconv.stores.parsers.onnx_graph import external_tensors

    files = {
        name: _places(artefact.path / name)
        for name in (WEIGHTS, CONSTANTS)
        if is_file(artefact.path / name)
    }
    return tuple(
        problem
        for program in sorted(artefact.programs)
        if artefact.file(program).suffix == ONNX
        for tensor in external_tensors(artefact.file(program))
        for problem in _pointer_problems(artefact.file(program).name, tensor, files)
    )


def _places(path: Path) -> dict[str, StoredTensor]:
    from ckptconv.artefacts.stored import stored_tensors

    try:
        return stored_tensors(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: malformed: {ascii(str(error))[:100]}") from None


def _pointer_problems(
    graph: str, tensor: ExternalTensor, files: dict[str, dict[str, StoredTensor]]
) -> Iterator[Problem]:
    from ckptconv.artefacts.stored import StoredTensor

    stored = files.get(tensor.file, {}).get(tensor.name)
    pointer = StoredTensor(tensor.dtype, tensor.shape, tensor.offset, tensor.nbytes)
    if stored is None:
        yield Problem("missing", tensor.name, f"{graph} points at it in {tensor.file!a}")
    elif stored != pointer:
        yield Problem("not equal", tensor.name, f"{graph} points elsewhere in {tensor.file}")


def compare_outputs(
    source: Checkpoint,
    model: Model,
    target: Checkpoint,
    options: Options,
    positions: Positions | None = None,
) -> ForwardReport:
    """Run both models and judge the answers.

    Where neither is PyTorch's, the source is converted to PyTorch for the time of the run: PyTorch computes in
    float64 what all others are measured by, and TF's and Flax's classes cannot.

    Raises: SourceError: that conversion is refused, or a side's own class cannot load it.
    FrameworkError: a framework is missing, or a child failed.
    """
    from ckptconv.run.forward import Runnable, class_faults, generation_faults, prepare

    require_loadable(source, model)
    target.require_loadable()
    artefact = artefact_of(target)
    if artefact:
        require_tokens(options)
    first, second = Runnable(source.weights.naming, source.path), runnable_of(target)
    with reference_of(source, (first.runner, second.runner), positions) as reference:
        return prepare(
            model,
            first,
            second,
            reference=reference,
            options=options,
            own_generation=artefact is not None,
            own_beams=artefact.other_beams if artefact else 0,
            faults=(
                generation_faults(model, source.weights.naming, source.config)
                or class_faults(model, second.runner)
            ),
        ).run()


def require_loadable(source: Checkpoint, model: Model) -> None:
    """Refuse a source that its own class cannot load as it is stored: nobody knows what it would answer.

    Raises: SourceError.
    """
    source.require_loadable()
    drawn = bind_whole(model, source).drawn()
    if drawn:
        masters = ", ".join(dict.fromkeys(drawn.values()))
        raise SourceError(
            f"{source.path}: no {' and no '.join(drawn)}: the config unties the embeddings, so that the class of"
            f" transformers 4.57.6 draws new ones when it loads this, and does not take {masters} for them.\n"
            "`ckptconv normalize` writes them under every name that the class reads; verify that, or"
            " --level weights."
        )


@contextmanager
def reference_of(
    source: Checkpoint, names: Sequence[str], positions: Positions | None = None
) -> Iterator[Path | None]:
    """Give a PyTorch checkpoint of the source; None where one of the models that run is PyTorch's.

    Args: names: of the runners.
    """
    if "pytorch" in names:
        yield None
        return
    from tempfile import TemporaryDirectory

    from ckptconv.verbs.convert import flax2pt, tf2pt

    with TemporaryDirectory(prefix="ckptconv-reference-") as folder:
        if source.weights.naming == "tf":
            tf2pt(source.path, Path(folder) / "pytorch")
        else:
            flax2pt(source.path, Path(folder) / "pytorch", positions=positions)
        yield Path(folder) / "pytorch"


def require_run_arguments(
    seed: int = 0,
    texts: Sequence[str] = (),
    timeout: float | None = None,
    positions: Positions | None = None,
) -> None:
    """Refuse arguments with which no model can be run. Raises UsageError."""
    require_integer("seed", seed, most=MAX_SEED)
    require_texts("texts", texts)
    if timeout is not None:
        require_number("timeout", timeout, 0, TIMEOUT_MAX)
        if not timeout:
            raise UsageError("timeout: 0 is not a time; leave it out to wait")
    require_positions(positions)


def require_answerable(model: Model, texts: Sequence[str]) -> None:
    """Refuse what a model cannot answer: of one that reads images or sounds, a text is the name of a file.

    Raises: UsageError: it names none. FrameworkError: what opens such files is not installed.
    """
    if not texts or model.reads == "tokens":
        return
    from ckptconv.run.inputs import require_package
    from ckptconv.run.modalities import modality_of

    modality = modality_of(model)
    for text in texts:
        if why := why_no_file(text):
            raise UsageError(
                f"texts: {model.label} reads {model.reads}, not sentences; give an {modality.item} file,"
                f" not {text!a}: {why}"
            )
    require_package(texts[0], modality)
