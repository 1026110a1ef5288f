"""The outputs half of `verify`: both models run on the same inputs, whichever frameworks they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ckptconv.run.forward import Options, Runnable, prepare
from ckptconv.run.known_faults import generation_faults
from ckptconv.run.report import ForwardReport
from ckptconv.schema.model import Model
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.verbs.artefact import artefact_of, require_tokens, runnable_of
from ckptconv.verbs.convert import flax2pt, tf2pt
from ckptconv.verbs.positions import Positions


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
    source.require_loadable()
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
            faults=generation_faults(model, source.weights.naming, source.config),
        ).run()


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
    with TemporaryDirectory(prefix="ckptconv-reference-") as folder:
        if source.weights.naming == "tf":
            tf2pt(source.path, Path(folder) / "pytorch")
        else:
            flax2pt(source.path, Path(folder) / "pytorch", positions=positions)
        yield Path(folder) / "pytorch"
