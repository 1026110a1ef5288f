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
from ckptconv.schema.vocabulary import NamingName
from ckptconv.stores.checkpoint import Checkpoint
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
    namings = source.weights.naming, target.weights.naming
    with reference_of(source, namings, positions) as reference:
        return prepare(
            model,
            Runnable(source.weights.naming, source.path),
            Runnable(target.weights.naming, target.path),
            reference=reference,
            options=options,
            faults=generation_faults(model, source.weights.naming, source.config),
        ).run()


@contextmanager
def reference_of(
    source: Checkpoint, namings: Sequence[NamingName], positions: Positions | None = None
) -> Iterator[Path | None]:
    """Give a PyTorch checkpoint of the source; None where one of the models that run is PyTorch's.

    Args: namings: of the models that run.
    """
    if "pytorch" in namings:
        yield None
        return
    with TemporaryDirectory(prefix="ckptconv-reference-") as folder:
        if source.weights.naming == "tf":
            tf2pt(source.path, Path(folder) / "pytorch")
        else:
            flax2pt(source.path, Path(folder) / "pytorch", positions=positions)
        yield Path(folder) / "pytorch"
